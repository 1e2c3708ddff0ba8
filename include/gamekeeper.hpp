// gamekeeper for C++17: owners for the objects of gamekeeper.h, callbacks as std::function.
//
// Header only, and nothing but gamekeeper.h underneath: what a call means, its ranges and its threads are
// said there. What this adds:
//
// - gk::context, gk::server, gk::client and gk::key own their objects: movable, not copyable, freed by their
//   destructors. gk::server_ref and gk::client_ref name one without owning it; callbacks get one.
// - No function throws unless you ask for it: calls return gk::result, calls that give something
//   gk::expected<T>. Their or_throw() and value() throw gk::error.
// - No exception of yours enters the library: what a callback throws goes to on_exception, or without one to
//   stderr, and the server or client goes on.
#ifndef GAMEKEEPER_HPP
#define GAMEKEEPER_HPP

#include "gamekeeper.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gk {

using peer = gk_peer;
using std::chrono::microseconds;

/// The library that runs: 0xMMmmpp, and as text. GK_VERSION and GK_VERSION_STR are the header's.
inline uint32_t version() noexcept { return gk_version(); }
inline std::string_view version_text() noexcept { return gk_version_str(); }
/// What a code means, in one sentence.
inline std::string_view text_of(gk_result code) noexcept { return gk_result_str(code); }

/// Of a network that does nothing to anybody; then set what it shall do, for simulate().
inline gk_conditions no_conditions() noexcept {
    gk_conditions conditions{};
    // It fails for a size that is none, which this is not.
    (void)gk_conditions_init(&conditions, sizeof conditions);
    return conditions;
}

/// The defaults of a door for streams, for listen_stream().
inline gk_stream_options stream_options() noexcept {
    gk_stream_options options{};
    // As above.
    (void)gk_stream_options_init(&options, sizeof options);
    return options;
}

/// Of what is said nothing, for a message; then set its type, as send_options::content.
inline gk_content content() noexcept {
    gk_content nothing{};
    // As above.
    (void)gk_content_init(&nothing, sizeof nothing);
    return nothing;
}

/// TLS of clients in streams that believe nobody yet; then say whom, for set_stream_tls().
inline gk_stream_tls stream_tls() noexcept {
    gk_stream_tls tls{};
    // As above.
    (void)gk_stream_tls_init(&tls, sizeof tls);
    return tls;
}

/// What or_throw() and value() throw.
class error : public std::runtime_error {
public:
    error(gk_result code, const std::string &text) : std::runtime_error(text), code_(code) {}
    gk_result code() const noexcept { return code_; }

private:
    gk_result code_;
};

/// What a call came to: a code, and after a failure its text.
class [[nodiscard]] result {
public:
    result() = default;
    /// From a call that this thread has just made.
    explicit result(gk_result code) : code_(code) {
        if (code != GK_OK) {
            char text[512];
            gk_last_error(text, sizeof text);
            text_ = text;
        }
    }
    bool ok() const noexcept { return code_ == GK_OK; }
    explicit operator bool() const noexcept { return ok(); }
    gk_result code() const noexcept { return code_; }
    const std::string &text() const noexcept { return text_; }
    void or_throw() const {
        if (ok()) return;
#if defined(__cpp_exceptions)
        throw error(code_, text_);
#else
        std::abort();
#endif
    }

private:
    gk_result code_ = GK_OK;
    std::string text_;
};

/// A value, or why there is none.
template <class T>
class [[nodiscard]] expected {
public:
    expected(T value) : value_(std::move(value)) {}
    expected(gk::result why) : why_(std::move(why)) {}
    bool ok() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return ok(); }
    const gk::result &result() const noexcept { return why_; }
    gk_result code() const noexcept { return why_.code(); }
    const std::string &text() const noexcept { return why_.text(); }
    /// Throws gk::error if there is none.
    T &value() & { return why_.or_throw(), *value_; }
    const T &value() const & { return why_.or_throw(), *value_; }
    /// Of one that is about to go: by value, so that `for (auto &x : *all())` has something to stand on.
    T value() && { return why_.or_throw(), std::move(*value_); }
    /// Only if ok().
    T &operator*() & { return *value_; }
    const T &operator*() const & { return *value_; }
    T operator*() && { return std::move(*value_); }
    T *operator->() { return &*value_; }
    const T *operator->() const { return &*value_; }

private:
    std::optional<T> value_;
    gk::result why_;
};

/// Bytes that somebody else holds.
struct bytes {
    const uint8_t *data = nullptr;
    size_t size = 0;
    bytes() = default;
    bytes(const void *bytes_data, size_t bytes_size)
        : data(static_cast<const uint8_t *>(bytes_data)), size(bytes_size) {}
    bytes(std::string_view text) : bytes(text.data(), text.size()) {}
    bytes(const std::string &text) : bytes(text.data(), text.size()) {}
    bytes(const char *text) : bytes(std::string_view(text)) {}
    bytes(const std::vector<uint8_t> &vector) : bytes(vector.data(), vector.size()) {}
    bytes(const gk_message &message) : bytes(message.data, message.len) {}
    bytes(const gk_event &event) : bytes(event.data, event.len) {}
    std::string_view view() const { return {reinterpret_cast<const char *>(data), size}; }
};

class server_ref;
class client_ref;

namespace detail {

/// Calls `get(buf, cap, &len)` with a buffer that grows until it suffices.
template <class Container, class Get>
expected<Container> fill(size_t first, size_t extra, Get get) {
    Container buffer;
    size_t size = first;
    // What is asked for can grow between two calls (peers do), but not for ever.
    for (int attempt = 0; attempt < 100; attempt++) {
        buffer.resize(size);
        size_t len = 0;
        gk_result code = get(buffer.data(), size, &len);
        if (code == GK_OK) {
            buffer.resize(len);
            return buffer;
        }
        if (code != GK_ERR_BUFFER_TOO_SMALL) return result(code);
        size = len + extra;
    }
    return result(GK_ERR_BUFFER_TOO_SMALL);
}

inline uint64_t wait_time(std::optional<microseconds> time) {
    if (!time) return GK_FOREVER;
    return time->count() < 0 ? 0 : static_cast<uint64_t>(time->count());
}

struct handlers {
    std::function<void(server_ref)> starting, reconcile, shutdown;
    std::function<void(server_ref, peer, const gk_connect_info &)> connect;
    std::function<void(server_ref, peer, const gk_disconnect_info &)> disconnect;
    std::function<void(server_ref, peer, const gk_message &)> message;
    std::function<void(server_ref, const gk_update &)> update;
    std::function<void(server_ref, peer)> writable;
    std::function<void(server_ref, gk_log_level, std::string_view)> log;
    std::function<void(server_ref, peer, const gk_join_request &)> authorise;
    std::function<void(server_ref, std::string_view, bytes)> raw;
    std::function<void(server_ref, peer, gk_file, const gk_file_offer &)> file_offer;
    std::function<void(server_ref, peer, gk_file, uint64_t, uint64_t)> file_progress;
    std::function<void(server_ref, peer, gk_file, const gk_file_end &)> file_end;
    std::function<void(std::exception_ptr)> exception;
    /// The server was freed inside one of its callbacks: the last one ends this.
    bool orphan = false;

    bool any() const {
        return starting || reconcile || shutdown || connect || disconnect || message || update || writable || log ||
               authorise || raw || file_offer || file_progress || file_end;
    }
};

struct client_handlers {
    std::function<void(client_ref, std::string_view)> connecting;
    std::function<void(client_ref, const gk_connect_info &)> connect;
    std::function<void(client_ref, const gk_disconnect_info &)> disconnect;
    std::function<void(client_ref, const gk_message &)> message;
    std::function<void(client_ref, const gk_update &)> update;
    std::function<void(client_ref)> writable, shutdown;
    std::function<void(client_ref, gk_file, const gk_file_offer &)> file_offer;
    std::function<void(gk_file, uint64_t, uint64_t)> file_progress;
    std::function<void(gk_file, const gk_file_end &)> file_end;
    std::function<void(client_ref, gk_log_level, std::string_view)> log;
    std::function<void(std::exception_ptr)> exception;
    /// The client was freed inside one of its callbacks: the last one ends this.
    bool orphan = false;

    bool any() const {
        return connecting || connect || disconnect || message || update || writable || shutdown || log || file_offer ||
               file_progress || file_end;
    }
};

/// The handlers, of servers or clients, whose callbacks this thread is in, the innermost first.
struct scope {
    explicit scope(const void *entered) : inside(entered), outer(innermost()) { innermost() = this; }
    ~scope() { innermost() = outer; }
    scope(const scope &) = delete;
    scope &operator=(const scope &) = delete;

    static bool contains(const void *wanted) {
        for (const scope *at = innermost(); at != nullptr; at = at->outer) {
            if (at->inside == wanted) return true;
        }
        return false;
    }

private:
    static scope *&innermost() {
        static thread_local scope *top = nullptr;
        return top;
    }
    const void *inside;
    scope *outer;
};

/// Runs a callback; what it throws ends here.
template <class Owner, class Body>
void guarded(const Owner *owner, Body body) noexcept {
    scope inside(owner);
#if defined(__cpp_exceptions)
    try {
        body();
    } catch (...) {
        try {
            if (owner != nullptr && owner->exception) {
                owner->exception(std::current_exception());
                return;
            }
            throw;
        } catch (const std::exception &thrown) {
            std::fprintf(stderr, "gamekeeper: a callback threw: %s\n", thrown.what());
        } catch (...) {
            std::fputs("gamekeeper: a callback threw\n", stderr);
        }
    }
#else
    body();
#endif
}

} // namespace detail

/// How a message is sent, and who is told what became of it.
struct send_options {
    gk_retry_mode retry = GK_RETRY_NONE;
    /// Called once, on the server's thread; on the client's with a server_ref of nothing and GK_PEER_NONE.
    std::function<void(server_ref, peer, gk_outcome)> on_sent = nullptr;
    /// Instead of on_sent: a GK_EVENT_SENT with user_data in the event queue.
    bool notify = false;
    void *user_data = nullptr;
    /// Of sequenced and ordered messages.
    uint8_t channel = 0;
    gk_priority priority = GK_PRIORITY_NORMAL;
    /// Packets beside the first that carry a copy of it, 0 to 4.
    uint32_t redundancy = 0;
    /// After which it is given up if it is neither guaranteed nor ordered. Without: the message timeout. One that
    /// is over already is the shortest there is.
    std::optional<microseconds> deadline = std::nullopt;
    /// What it is, where that can be told; see gk::content(). Read while the call lasts.
    const gk_content *content = nullptr;
};

namespace detail {

/// The same for C, but for who is told.
inline gk_result plain_options(const send_options &options, gk_send_options &out) {
    gk_result code = gk_send_options_init(&out, sizeof out);
    if (code != GK_OK) return code;
    out.retry = options.retry;
    out.notify = options.notify;
    out.user_data = options.user_data;
    out.channel = options.channel;
    out.priority = options.priority;
    out.redundancy = options.redundancy;
    // 0 would be the default.
    if (options.deadline) out.deadline_us = options.deadline->count() < 1 ? 1 : wait_time(options.deadline);
    out.content = options.content;
    return GK_OK;
}

/// The name of a group as C takes it. A name with a NUL would end there and be another group's: it becomes the empty
/// name, which is refused; a longer one than is allowed stays one byte too long. Nothing is allocated.
inline std::array<char, GK_GROUP_MAX_NAME_BYTES + 2> group_name(std::string_view name) {
    std::array<char, GK_GROUP_MAX_NAME_BYTES + 2> text{};
    if (name.find('\0') == std::string_view::npos) name.copy(text.data(), GK_GROUP_MAX_NAME_BYTES + 1);
    return text;
}
} // namespace detail

/// One of many messages: see server_ref::send_many. `data` is read by the call only.
struct outgoing {
    gk::peer to = GK_PEER_NONE;
    bytes data;
    gk_retry_mode retry = GK_RETRY_NONE;
    uint8_t channel = 0;
    gk_priority priority = GK_PRIORITY_NORMAL;
    uint32_t redundancy = 0;
};

/// For how many peers a message to many was queued, and how many had no room.
struct reach {
    size_t sent = 0;
    size_t refused = 0;
};

/// How a file is sent, and who is told of it: on the server's thread, or on the client's.
struct file_options {
    /// What it is offered as; empty: the path's last component.
    std::string name;
    /// Told how many bytes the receiver has written, and how many there are.
    std::function<void(uint64_t, uint64_t)> on_progress = nullptr;
    /// Told once how it ended.
    std::function<void(gk_file, const gk_file_end &)> on_done = nullptr;
};

/// Where an accepted file goes.
struct file_target {
    /// It must exist.
    std::string directory;
    /// Another name than the offered one; empty: that.
    std::string name = {};
    /// Whether a file of this name is replaced; else the new one gets a number.
    bool replace = false;
};

/// How much is received: what gk_file_quota_init gives, to be changed.
inline gk_file_quota file_quota() {
    gk_file_quota quota{};
    // It cannot fail: the size is the library's own.
    (void)gk_file_quota_init(&quota, sizeof quota);
    return quota;
}

/// A server that somebody else owns. Cheap to copy; good as long as the owner lives.
class server_ref {
public:
    server_ref() = default;
    server_ref(gk_server *server, const detail::handlers *owner) : server_(server), handlers_(owner) {}

    /// The object of gamekeeper.h, for what this header does not wrap.
    gk_server *native() const noexcept { return server_; }

    result send(gk::peer to, bytes data, send_options options = {}) const;
    expected<gk_file> send_file(gk::peer to, const std::string &path, file_options options = {}) const;
    result accept_file(gk::peer from, gk_file file, const file_target &target) const;
    result refuse_file(gk::peer from, gk_file file, const std::string &why = {}) const {
        return result(gk_server_refuse_file(server_, from, file, why.c_str()));
    }
    result cancel_file(gk::peer with, gk_file file) const {
        return result(gk_server_cancel_file(server_, with, file));
    }
    result send_guaranteed(gk::peer to, bytes data,
                           std::function<void(server_ref, peer, gk_outcome)> on_sent = nullptr) const {
        send_options options;
        options.retry = GK_RETRY_ON_TIMEOUT;
        options.on_sent = std::move(on_sent);
        return send(to, data, std::move(options));
    }
    /// Many messages in one call; gives what became of each, in their order.
    expected<std::vector<gk_result>> send_many(const std::vector<outgoing> &messages) const {
        std::vector<gk_send_item> items(messages.size());
        for (size_t i = 0; i < items.size(); i++) {
            gk_result initialised = gk_send_item_init(&items[i], sizeof items[i]);
            if (initialised != GK_OK) return gk::result(initialised);
            items[i].peer = messages[i].to;
            items[i].data = messages[i].data.data;
            items[i].len = messages[i].data.size;
            items[i].retry = messages[i].retry;
            items[i].channel = messages[i].channel;
            items[i].priority = messages[i].priority;
            items[i].redundancy = messages[i].redundancy;
        }
        gk_result code = gk_server_send_many(server_, items.data(), sizeof(gk_send_item), items.size(), nullptr);
        if (code != GK_OK) return gk::result(code);
        std::vector<gk_result> results;
        results.reserve(items.size());
        for (const gk_send_item &item : items) results.push_back(item.result);
        return results;
    }
    /// To all peers, or all but one; gives to how many.
    expected<size_t> broadcast(bytes data, gk_retry_mode retry = GK_RETRY_NONE,
                               gk::peer except = GK_PEER_NONE) const {
        gk_send_options options;
        size_t sent = 0;
        gk_result code = gk_send_options_init(&options, sizeof options);
        options.retry = retry;
        if (code == GK_OK) code = gk_server_broadcast(server_, except, data.data, data.size, &options, &sent);
        if (code != GK_OK) return gk::result(code);
        return sent;
    }
    result disconnect(gk::peer whom, const std::string &text = {}, gk_disconnect_code code = GK_DISCONNECT_KICKED,
                      bool after_delivery = false) const {
        gk_disconnect_info info;
        gk_result initialised = gk_disconnect_info_init(&info, sizeof info);
        if (initialised != GK_OK) return result(initialised);
        info.text = text.c_str();
        info.code = code;
        info.after_delivery = after_delivery;
        return result(gk_server_disconnect(server_, whom, &info));
    }

    /// Lets in a client that waits for a decision, or refuses it.
    result accept(gk::peer whom) const { return result(gk_peer_accept(server_, whom)); }
    result refuse(gk::peer whom, gk_refusal code = GK_REFUSED_HOST, const std::string &text = {}) const {
        return result(gk_peer_refuse(server_, whom, code, text.c_str()));
    }

    /// Puts a peer into the group of a name, or takes it out: 1 to GK_GROUP_MAX_NAME_BYTES bytes of UTF-8 without NUL.
    result group_add(std::string_view group, gk::peer whom) const {
        return result(gk_server_group_add(server_, detail::group_name(group).data(), whom));
    }
    result group_remove(std::string_view group, gk::peer whom) const {
        return result(gk_server_group_remove(server_, detail::group_name(group).data(), whom));
    }
    /// Copies ahead of a loss of all short messages for one peer, 0 to 4. Native wire.
    result set_redundancy(gk::peer whom, uint32_t copies) const {
        return result(gk_peer_set_redundancy(server_, whom, copies));
    }
    /// To all members, or all but one.
    expected<reach> group_send(std::string_view group, bytes data, gk_retry_mode retry = GK_RETRY_NONE,
                               gk::peer except = GK_PEER_NONE) const {
        gk_send_options options;
        reach many;
        gk_result code = gk_send_options_init(&options, sizeof options);
        options.retry = retry;
        if (code == GK_OK) {
            code = gk_server_group_send(server_, detail::group_name(group).data(), except, data.data, data.size, &options,
                                        &many.sent, &many.refused);
        }
        if (code != GK_OK) return gk::result(code);
        return many;
    }
    /// Answers a datagram that is of no wire.
    result send_raw(const std::string &to, bytes data) const {
        return result(gk_server_send_raw(server_, to.c_str(), data.data, data.size));
    }
    /// Without info: no answer to those who look for servers.
    result set_discovery_info(std::optional<bytes> info) const {
        bytes given = info.value_or(bytes());
        return result(gk_server_set_discovery_info(server_, given.data, given.size));
    }

    /// Without a time-out: until something happened.
    result poll(std::optional<microseconds> timeout = std::nullopt) const {
        return result(gk_server_poll(server_, detail::wait_time(timeout)));
    }
    result wake() const { return result(gk_server_wake(server_)); }
    result stop() const { return result(gk_server_stop(server_)); }
    /// Without a time-out: until it has stopped.
    result wait(std::optional<microseconds> timeout = std::nullopt) const {
        return result(gk_server_wait(server_, detail::wait_time(timeout)));
    }
    bool is_stopped() const noexcept {
        uint32_t stopped = 1;
        return gk_server_is_stopped(server_, &stopped) != GK_OK || stopped != 0;
    }
    expected<int> descriptor() const { return get<int32_t>(gk_server_descriptor); }
    /// Nothing if nothing is due.
    expected<std::optional<microseconds>> next_timeout() const {
        uint64_t due = 0;
        gk_result code = gk_server_next_timeout_us(server_, &due);
        if (code != GK_OK) return gk::result(code);
        if (due == GK_FOREVER) return std::optional<microseconds>();
        return std::optional<microseconds>(microseconds(due));
    }
    /// Fills `events` with at most `max`; they are good until the next call.
    result next_events(std::vector<gk_event> &events, size_t max = 256) const {
        size_t taken = 0;
        events.resize(max);
        gk_result code = gk_server_next_events(server_, events.data(), sizeof(gk_event), max, &taken);
        events.resize(code == GK_OK ? taken : 0);
        return result(code);
    }

    expected<std::string> address() const {
        return detail::fill<std::string>(
            64, 0, [this](char *buf, size_t cap, size_t *len) { return gk_server_address(server_, buf, cap, len); });
    }
    /// Where an HTTP door is, in the order in which they were added.
    expected<std::string> http_address(size_t index = 0) const {
        return detail::fill<std::string>(64, 0, [this, index](char *buf, size_t cap, size_t *len) {
            return gk_server_http_address(server_, index, buf, cap, len);
        });
    }
    /// The request that opened a peer's WebSocket; GK_REQUEST_NONE if it is none, or has long closed.
    expected<gk_request> request_of(peer of) const { return get<gk_request>(gk_peer_request, of); }
    /// Where the dashboard is; GK_ERR_STATE without one.
    expected<std::string> dashboard_address() const {
        return detail::fill<std::string>(64, 0, [this](char *buf, size_t cap, size_t *len) {
            return gk_server_dashboard_address(server_, buf, cap, len);
        });
    }
    /// Where others can reach it, at all of its doors: lines of `udp` or `tcp`, a blank, and an address.
    expected<std::string> addresses() const {
        return detail::fill<std::string>(
            256, 0, [this](char *buf, size_t cap, size_t *len) { return gk_server_addresses(server_, buf, cap, len); });
    }
    /// Where a door for streams is, in the order in which they were added.
    expected<std::string> stream_address(size_t index = 0) const {
        return detail::fill<std::string>(64, 0, [this, index](char *buf, size_t cap, size_t *len) {
            return gk_server_stream_address(server_, index, buf, cap, len);
        });
    }
    expected<uint16_t> port() const { return get<uint16_t>(gk_server_port); }
    expected<std::vector<uint8_t>> public_key_der() const {
        return detail::fill<std::vector<uint8_t>>(91, 0, [this](uint8_t *buf, size_t cap, size_t *len) {
            return gk_server_public_key_der(server_, buf, cap, len);
        });
    }
    /// The key of the native wire.
    expected<std::vector<uint8_t>> native_key() const {
        return detail::fill<std::vector<uint8_t>>(32, 0, [this](uint8_t *buf, size_t cap, size_t *len) {
            return gk_server_native_key(server_, buf, cap, len);
        });
    }
    result set_block_list(const std::vector<std::string> &entries) const {
        std::vector<const char *> texts;
        for (const std::string &entry : entries) texts.push_back(entry.c_str());
        return result(gk_server_set_block_list(server_, texts.data(), texts.size()));
    }
    /// Conditions that `gk_conditions_init` filled; null ends it.
    result simulate(gk_direction direction, const gk_conditions *conditions) const {
        return result(gk_server_simulate(server_, direction, conditions));
    }
    result simulate(gk::peer whom, gk_direction direction, const gk_conditions *conditions) const {
        return result(gk_server_simulate_peer(server_, whom, direction, conditions));
    }
    expected<std::vector<gk::peer>> peers() const {
        return detail::fill<std::vector<gk::peer>>(64, 16, [this](gk_peer *buf, size_t cap, size_t *len) {
            return gk_server_peers(server_, buf, cap, len);
        });
    }
    expected<gk_server_stats_t> stats() const {
        gk_server_stats_t stats;
        gk_result code = gk_server_stats_init(&stats, sizeof stats);
        if (code == GK_OK) code = gk_server_stats(server_, &stats);
        if (code != GK_OK) return gk::result(code);
        return stats;
    }
    expected<std::vector<gk_second>> series() const {
        return detail::fill<std::vector<gk_second>>(300, 0, [this](gk_second *buf, size_t cap, size_t *len) {
            return gk_server_series(server_, buf, cap, len);
        });
    }
    expected<std::vector<gk_profile_second>> profile_series() const {
        return detail::fill<std::vector<gk_profile_second>>(
            300, 0, [this](gk_profile_second *buf, size_t cap, size_t *len) {
                return gk_server_profile_series(server_, buf, cap, len);
            });
    }

    expected<std::string> peer_address(gk::peer of) const {
        return detail::fill<std::string>(64, 0, [this, of](char *buf, size_t cap, size_t *len) {
            return gk_peer_address(server_, of, buf, cap, len);
        });
    }
    expected<uint32_t> peer_token(gk::peer of) const { return get<uint32_t>(gk_peer_token, of); }
    expected<microseconds> peer_latency(gk::peer of) const {
        uint64_t latency = 0;
        gk_result code = gk_peer_latency_us(server_, of, &latency);
        if (code != GK_OK) return gk::result(code);
        return microseconds(latency);
    }
    expected<gk_status> peer_status(gk::peer of) const { return get<gk_status>(gk_peer_status, of); }
    expected<gk_wire> peer_wire(gk::peer of) const { return get<gk_wire>(gk_peer_wire, of); }
    expected<gk_door> peer_door(gk::peer of) const { return get<gk_door>(gk_peer_door, of); }
    expected<size_t> peer_queued_bytes(gk::peer of) const { return get<size_t>(gk_peer_queued_bytes, of); }
    expected<void *> peer_user_data(gk::peer of) const { return get<void *>(gk_peer_user_data, of); }
    result set_peer_user_data(gk::peer of, void *user_data) const {
        return result(gk_peer_set_user_data(server_, of, user_data));
    }
    expected<gk_peer_stats_t> peer_stats(gk::peer of) const {
        gk_peer_stats_t stats;
        gk_result code = gk_peer_stats_init(&stats, sizeof stats);
        if (code == GK_OK) code = gk_peer_stats(server_, of, &stats);
        if (code != GK_OK) return gk::result(code);
        return stats;
    }
    result set_peer_series(gk::peer of, bool on) const { return result(gk_peer_set_series(server_, of, on)); }
    expected<std::vector<gk_second>> peer_series(gk::peer of) const {
        return detail::fill<std::vector<gk_second>>(300, 0, [this, of](gk_second *buf, size_t cap, size_t *len) {
            return gk_peer_series(server_, of, buf, cap, len);
        });
    }

protected:
    gk_server *server_ = nullptr;
    const detail::handlers *handlers_ = nullptr;

private:
    template <class T, class Function, class... Arguments>
    expected<T> get(Function function, Arguments... arguments) const {
        T value{};
        gk_result code = function(server_, arguments..., &value);
        if (code != GK_OK) return gk::result(code);
        return value;
    }
};

/// A client that somebody else owns. Cheap to copy; good as long as the owner lives.
class client_ref {
public:
    client_ref() = default;
    client_ref(gk_client *client, const detail::client_handlers *owner) : client_(client), handlers_(owner) {}

    /// The object of gamekeeper.h, for what this header does not wrap.
    gk_client *native() const noexcept { return client_; }

    /// To the server. `on_sent` is called once, on the client's thread; where it is given, options must not ask for
    /// an event too.
    result send(bytes data, send_options options = {},
                std::function<void(client_ref, gk_outcome)> on_sent = nullptr) const;
    result send_guaranteed(bytes data, std::function<void(client_ref, gk_outcome)> on_sent = nullptr) const {
        send_options options;
        options.retry = GK_RETRY_ON_TIMEOUT;
        return send(data, std::move(options), std::move(on_sent));
    }
    result disconnect() const { return result(gk_client_disconnect(client_)); }
    /// When what is queued is acknowledged, or the time is over.
    result disconnect_wait(microseconds timeout) const {
        return result(gk_client_disconnect_wait(client_, detail::wait_time(timeout)));
    }
    result reconnect() const { return result(gk_client_reconnect(client_)); }

    /// Without a time-out: until something happened.
    result poll(std::optional<microseconds> timeout = std::nullopt) const {
        return result(gk_client_poll(client_, detail::wait_time(timeout)));
    }
    result wake() const { return result(gk_client_wake(client_)); }
    result stop() const { return result(gk_client_stop(client_)); }
    /// Without a time-out: until it has stopped.
    result wait(std::optional<microseconds> timeout = std::nullopt) const {
        return result(gk_client_wait(client_, detail::wait_time(timeout)));
    }
    bool is_stopped() const noexcept {
        uint32_t stopped = 1;
        return gk_client_is_stopped(client_, &stopped) != GK_OK || stopped != 0;
    }
    expected<int> descriptor() const { return get<int32_t>(gk_client_descriptor); }
    /// Nothing if nothing is due.
    expected<std::optional<microseconds>> next_timeout() const {
        uint64_t due = 0;
        gk_result code = gk_client_next_timeout_us(client_, &due);
        if (code != GK_OK) return gk::result(code);
        if (due == GK_FOREVER) return std::optional<microseconds>();
        return std::optional<microseconds>(microseconds(due));
    }
    /// Fills `events` with at most `max`; they are good until the next call.
    result next_events(std::vector<gk_event> &events, size_t max = 256) const {
        size_t taken = 0;
        events.resize(max);
        gk_result code = gk_client_next_events(client_, events.data(), sizeof(gk_event), max, &taken);
        events.resize(code == GK_OK ? taken : 0);
        return result(code);
    }

    expected<gk_status> status() const { return get<gk_status>(gk_client_status); }
    expected<microseconds> latency() const {
        uint64_t latency = 0;
        gk_result code = gk_client_latency_us(client_, &latency);
        if (code != GK_OK) return gk::result(code);
        return microseconds(latency);
    }
    /// The server's time, and its tick with the part of the next one that has passed, as this end estimates them.
    expected<microseconds> server_clock() const {
        uint64_t clock = 0;
        gk_result code = gk_client_server_clock_us(client_, &clock);
        if (code != GK_OK) return gk::result(code);
        return microseconds(clock);
    }
    expected<double> server_tick() const { return get<double>(gk_client_server_tick); }
    /// Conditions that `gk_conditions_init` filled; null ends it.
    result simulate(gk_direction direction, const gk_conditions *conditions) const {
        return result(gk_client_simulate(client_, direction, conditions));
    }
    expected<size_t> queued_bytes() const { return get<size_t>(gk_client_queued_bytes); }
    expected<uint32_t> token() const { return get<uint32_t>(gk_client_token); }
    expected<gk_peer_stats_t> stats() const {
        gk_peer_stats_t stats;
        gk_result code = gk_peer_stats_init(&stats, sizeof stats);
        if (code == GK_OK) code = gk_client_stats(client_, &stats);
        if (code != GK_OK) return gk::result(code);
        return stats;
    }
    expected<std::vector<gk_second>> series() const {
        return detail::fill<std::vector<gk_second>>(300, 0, [this](gk_second *buf, size_t cap, size_t *len) {
            return gk_client_series(client_, buf, cap, len);
        });
    }
    expected<gk_file> send_file(const std::string &path, file_options options = {}) const;
    result accept_file(gk_file file, const file_target &target) const;
    result refuse_file(gk_file file, const std::string &why = {}) const {
        return result(gk_client_refuse_file(client_, file, why.c_str()));
    }
    result cancel_file(gk_file file) const { return result(gk_client_cancel_file(client_, file)); }
    expected<std::string> server_address() const { return text(gk_client_server_address); }
    expected<std::string> local_address() const { return text(gk_client_local_address); }
    /// The keys that the server has proved to have, for instance to pin them from now on.
    expected<std::vector<uint8_t>> server_native_key() const { return key_bytes(gk_client_server_native_key, 32); }
    expected<std::vector<uint8_t>> server_root_key_der() const { return key_bytes(gk_client_server_root_key_der, 91); }

protected:
    gk_client *client_ = nullptr;
    const detail::client_handlers *handlers_ = nullptr;

private:
    template <class T, class Function>
    expected<T> get(Function function) const {
        T value{};
        gk_result code = function(client_, &value);
        if (code != GK_OK) return gk::result(code);
        return value;
    }
    expected<std::string> text(gk_result (*function)(const gk_client *, char *, size_t, size_t *)) const {
        return detail::fill<std::string>(64, 0, [this, function](char *buf, size_t cap, size_t *len) {
            return function(client_, buf, cap, len);
        });
    }
    expected<std::vector<uint8_t>> key_bytes(gk_result (*function)(const gk_client *, uint8_t *, size_t, size_t *),
                                             size_t size) const {
        return detail::fill<std::vector<uint8_t>>(size, 0, [this, function](uint8_t *buf, size_t cap, size_t *len) {
            return function(client_, buf, cap, len);
        });
    }
};

/// A request that waits for its answer. Cheap to copy; once it is answered all functions give GK_ERR_STALE.
class request {
public:
    request(server_ref server, gk_request id) : server_(server), id_(id) {}
    request(gk_server *server, gk_request id) : server_(server, nullptr), id_(id) {}

    gk_request native() const noexcept { return id_; }

    expected<std::string> method() const { return text(gk_request_method); }
    expected<std::string> path() const { return text(gk_request_path); }
    expected<std::string> query_string() const { return text(gk_request_query_string); }
    expected<std::string> address() const { return text(gk_request_address); }
    /// What a name of the route's pattern stands for; GK_ERR_ARGUMENT if nothing.
    expected<std::string> param(const std::string &name) const { return named(gk_request_param, name); }
    expected<std::string> query(const std::string &name) const { return named(gk_request_query, name); }
    expected<std::string> header(const std::string &name) const { return named(gk_request_header, name); }
    /// All of them: `name: value`, each with a line end.
    expected<std::string> headers() const { return raw(gk_request_headers); }
    expected<std::string> body() const { return raw(gk_request_body); }
    /// Whether it came over TLS.
    expected<bool> is_secure() const {
        uint32_t secure = 0;
        gk_result code = gk_request_is_secure(server_.native(), id_, &secure);
        if (code != GK_OK) return gk::result(code);
        return secure != 0;
    }

    /// A header of the answer.
    result set_header(const std::string &name, const std::string &value) const {
        return result(gk_response_header(server_.native(), id_, name.c_str(), value.c_str()));
    }
    /// Takes the answer's headers back.
    result clear() const { return result(gk_response_clear(server_.native(), id_)); }
    /// The answer; on any thread.
    result send(uint32_t status, bytes body = {}) const {
        return result(gk_response_send(server_.native(), id_, status, body.data, body.size));
    }
    /// Opens the WebSocket that it asks for.
    result upgrade() const { return result(gk_response_upgrade(server_.native(), id_)); }

private:
    template <class Function>
    expected<std::string> text(Function function) const {
        return detail::fill<std::string>(64, 0, [&](char *buf, size_t cap, size_t *len) {
            return function(server_.native(), id_, buf, cap, len);
        });
    }
    template <class Function>
    expected<std::string> raw(Function function) const {
        return detail::fill<std::string>(256, 0, [&](char *buf, size_t cap, size_t *len) {
            return function(server_.native(), id_, reinterpret_cast<uint8_t *>(buf), cap, len);
        });
    }
    template <class Function>
    expected<std::string> named(Function function, const std::string &name) const {
        return detail::fill<std::string>(64, 0, [&](char *buf, size_t cap, size_t *len) {
            return function(server_.native(), id_, name.c_str(), buf, cap, len);
        });
    }

    server_ref server_;
    gk_request id_;
};

namespace detail {

struct completion {
    std::function<void(server_ref, peer, gk_outcome)> function;
    const handlers *owner;

    static void call(void *user_data, gk_server *server, gk_peer peer, gk_outcome outcome) noexcept {
        // Called exactly once: it ends here.
        std::unique_ptr<completion> self(static_cast<completion *>(user_data));
        guarded(self->owner, [&] { self->function(server_ref(server, self->owner), peer, outcome); });
    }
};

/// The C callback that calls one member of the handlers. What C gives as pointers to structs becomes
/// references.
template <auto member>
struct trampoline {
    template <class T>
    static const T &unwrap(const T *pointer) {
        return *pointer;
    }
    static std::string_view unwrap(const char *text) { return text; }
    template <class T>
    static T unwrap(T value) {
        return value;
    }

    template <class... Arguments>
    static void call(void *user_data, gk_server *server, Arguments... arguments) noexcept {
        auto *owner = static_cast<handlers *>(user_data);
        guarded(owner, [&] { (owner->*member)(server_ref(server, owner), unwrap(arguments)...); });
    }
};

inline void on_raw(void *user_data, gk_server *server, const char *from, const uint8_t *data, size_t len) noexcept {
    auto *owner = static_cast<handlers *>(user_data);
    guarded(owner, [&] { owner->raw(server_ref(server, owner), from, bytes(data, len)); });
}

inline void on_shutdown(void *user_data, gk_server *server) noexcept {
    auto *owner = static_cast<handlers *>(user_data);
    if (owner->shutdown) guarded(owner, [&] { owner->shutdown(server_ref(server, owner)); });
    // Nothing is called any more.
    if (owner->orphan) delete owner;
}

} // namespace detail

namespace detail {

struct client_completion {
    std::function<void(client_ref, gk_outcome)> function;
    std::function<void(server_ref, peer, gk_outcome)> plain;
    client_ref client;
    const client_handlers *owner;

    static void call(void *user_data, gk_server *, gk_peer, gk_outcome outcome) noexcept {
        // Called exactly once: it ends here.
        std::unique_ptr<client_completion> self(static_cast<client_completion *>(user_data));
        if (self->function) guarded(self->owner, [&] { self->function(self->client, outcome); });
        if (self->plain) guarded(self->owner, [&] { self->plain(server_ref(), GK_PEER_NONE, outcome); });
    }
};

/// As trampoline, for the handlers of clients.
template <auto member>
struct client_trampoline {
    template <class... Arguments>
    static void call(void *user_data, gk_client *client, Arguments... arguments) noexcept {
        auto *owner = static_cast<client_handlers *>(user_data);
        guarded(owner, [&] {
            (owner->*member)(client_ref(client, owner), trampoline<member>::unwrap(arguments)...);
        });
    }
};

inline void on_client_shutdown(void *user_data, gk_client *client) noexcept {
    auto *owner = static_cast<client_handlers *>(user_data);
    if (owner->shutdown) guarded(owner, [&] { owner->shutdown(client_ref(client, owner)); });
    // Nothing is called any more.
    if (owner->orphan) delete owner;
}

} // namespace detail

inline result client_ref::send(bytes data, send_options options,
                               std::function<void(client_ref, gk_outcome)> on_sent) const {
    gk_send_options given;
    gk_result code = detail::plain_options(options, given);
    if (code != GK_OK) return result(code);
    std::unique_ptr<detail::client_completion> completion;
    if (on_sent || options.on_sent) {
        completion.reset(new detail::client_completion{std::move(on_sent), std::move(options.on_sent),
                                                       client_ref(client_, handlers_), handlers_});
        given.on_sent = detail::client_completion::call;
        given.user_data = completion.get();
    }
    code = gk_client_send(client_, data.data, data.size, &given);
    // A message that was taken calls it, and that ends it.
    if (code == GK_OK) completion.release();
    return result(code);
}

inline result server_ref::send(gk::peer to, bytes data, send_options options) const {
    gk_send_options given;
    gk_result code = detail::plain_options(options, given);
    if (code != GK_OK) return result(code);
    std::unique_ptr<detail::completion> completion;
    if (options.on_sent) {
        completion.reset(new detail::completion{std::move(options.on_sent), handlers_});
        given.on_sent = detail::completion::call;
        given.user_data = completion.get();
    }
    code = gk_server_send(server_, to, data.data, data.size, &given);
    // A message that was taken calls it, and that ends it.
    if (code == GK_OK) completion.release();
    return result(code);
}

namespace detail {

/// Whom a file under way calls; it ends with the file.
template <class Owner>
struct file_watcher {
    file_options options;
    const Owner *owner;

    static void progress(void *user_data, gk_server *, gk_peer, gk_file, uint64_t done, uint64_t size) noexcept {
        auto *self = static_cast<file_watcher *>(user_data);
        if (self->options.on_progress) guarded(self->owner, [&] { self->options.on_progress(done, size); });
    }
    static void done(void *user_data, gk_server *, gk_peer, gk_file file, const gk_file_end *end) noexcept {
        // Called exactly once: it ends here.
        std::unique_ptr<file_watcher> self(static_cast<file_watcher *>(user_data));
        if (self->options.on_done) guarded(self->owner, [&] { self->options.on_done(file, *end); });
    }
};

/// Sends a file by one of the two C functions, whose arguments up to the path `call` has.
template <class Owner, class Call>
expected<gk_file> send_file(file_options options, const Owner *owner, Call call) {
    gk_file_options given;
    gk_result code = gk_file_options_init(&given, sizeof given);
    if (code != GK_OK) return result(code);
    std::string name = options.name;
    if (!name.empty()) given.name = name.c_str();
    gk_file file = GK_FILE_NONE;
    std::unique_ptr<file_watcher<Owner>> watcher;
    gk_file_end_fn done = nullptr;
    if (options.on_progress || options.on_done) {
        if (options.on_progress) given.on_progress = file_watcher<Owner>::progress;
        watcher.reset(new file_watcher<Owner>{std::move(options), owner});
        given.user_data = watcher.get();
        done = file_watcher<Owner>::done;
    }
    code = call(&given, done, &file);
    if (code != GK_OK) return result(code);
    // A file that was taken calls it, and that ends it.
    watcher.release();
    return file;
}

/// Takes a file by one of the two C functions.
template <class Call>
result accept_file(const file_target &target, Call call) {
    gk_file_target given;
    gk_result code = gk_file_target_init(&given, sizeof given);
    if (code != GK_OK) return result(code);
    given.directory = target.directory.c_str();
    if (!target.name.empty()) given.name = target.name.c_str();
    given.replace = target.replace;
    return result(call(&given));
}

inline void on_client_file_progress(void *user_data, gk_server *, gk_peer, gk_file file, uint64_t done,
                                    uint64_t size) noexcept {
    auto *owner = static_cast<client_handlers *>(user_data);
    if (owner->file_progress) guarded(owner, [&] { owner->file_progress(file, done, size); });
}

inline void on_client_file_end(void *user_data, gk_server *, gk_peer, gk_file file, const gk_file_end *end) noexcept {
    auto *owner = static_cast<client_handlers *>(user_data);
    if (owner->file_end) guarded(owner, [&] { owner->file_end(file, *end); });
}

} // namespace detail

inline expected<gk_file> server_ref::send_file(gk::peer to, const std::string &path, file_options options) const {
    return detail::send_file(std::move(options), handlers_,
                             [&](const gk_file_options *given, gk_file_end_fn done, gk_file *file) {
                                 return gk_server_send_file(server_, to, path.c_str(), given, done, file);
                             });
}

inline result server_ref::accept_file(gk::peer from, gk_file file, const file_target &target) const {
    return detail::accept_file(target, [&](const gk_file_target *given) {
        return gk_server_accept_file(server_, from, file, given);
    });
}

inline expected<gk_file> client_ref::send_file(const std::string &path, file_options options) const {
    return detail::send_file(std::move(options), handlers_,
                             [&](const gk_file_options *given, gk_file_end_fn done, gk_file *file) {
                                 return gk_client_send_file(client_, path.c_str(), given, done, file);
                             });
}

inline result client_ref::accept_file(gk_file file, const file_target &target) const {
    return detail::accept_file(target, [&](const gk_file_target *given) {
        return gk_client_accept_file(client_, file, given);
    });
}

/// A root key pair.
class key {
public:
    static expected<key> generate() { return make(gk_key_generate); }
    static expected<key> from_pem(const std::string &pem) { return make(gk_key_from_pem, pem.c_str()); }
    static expected<key> from_der(bytes der) { return make(gk_key_from_der, der.data, der.size); }
    static expected<key> load(const std::string &path) { return make(gk_key_load, path.c_str()); }

    gk_key *native() const noexcept { return key_.get(); }
    result save(const std::string &path) const { return result(gk_key_save(native(), path.c_str())); }
    expected<std::string> private_pem() const { return get<std::string, char>(gk_key_private_pem); }
    expected<std::string> public_pem() const { return get<std::string, char>(gk_key_public_pem); }
    expected<std::vector<uint8_t>> private_der() const {
        return get<std::vector<uint8_t>, uint8_t>(gk_key_private_der);
    }
    expected<std::vector<uint8_t>> public_der() const {
        return get<std::vector<uint8_t>, uint8_t>(gk_key_public_der);
    }
    expected<std::vector<uint8_t>> sign(bytes data) const {
        return detail::fill<std::vector<uint8_t>>(72, 0, [&](uint8_t *buf, size_t cap, size_t *len) {
            return gk_key_sign(native(), data.data, data.size, buf, cap, len);
        });
    }
    /// What clients of the native wire pin.
    expected<std::vector<uint8_t>> native_public() const { return get<std::vector<uint8_t>>(gk_key_native_public); }
    static expected<std::vector<uint8_t>> public_pem_to_der(const std::string &pem) {
        return detail::fill<std::vector<uint8_t>>(91, 0, [&](uint8_t *buf, size_t cap, size_t *len) {
            return gk_public_key_pem_to_der(pem.c_str(), buf, cap, len);
        });
    }
    static expected<std::string> public_der_to_pem(bytes der) {
        return detail::fill<std::string>(256, 0, [&](char *buf, size_t cap, size_t *len) {
            return gk_public_key_der_to_pem(der.data, der.size, buf, cap, len);
        });
    }
    static result verify(bytes public_der, bytes data, bytes signature) {
        return result(gk_public_key_verify(public_der.data, public_der.size, data.data, data.size,
                                           signature.data, signature.size));
    }

private:
    struct end {
        void operator()(gk_key *key) const noexcept { gk_key_free(key); }
    };
    explicit key(gk_key *owned) : key_(owned) {}
    template <class Function, class... Arguments>
    static expected<key> make(Function function, Arguments... arguments) {
        gk_key *made = nullptr;
        gk_result code = function(arguments..., &made);
        if (code != GK_OK) return gk::result(code);
        return key(made);
    }
    template <class Container, class T>
    expected<Container> get(gk_result (*function)(const gk_key *, T *, size_t, size_t *)) const {
        return detail::fill<Container>(
            512, 0, [&](T *buf, size_t cap, size_t *len) { return function(native(), buf, cap, len); });
    }
    std::unique_ptr<gk_key, end> key_;
};

namespace detail {
template <class Ref, class Handlers, auto give_back>
class owning;
} // namespace detail

/// What servers and clients are made from.
class context {
public:
    static expected<context> create() {
        gk_context *made = nullptr;
        gk_result code = gk_context_new(&made);
        if (code != GK_OK) return gk::result(code);
        return context(made);
    }
    gk_context *native() const noexcept { return context_.get(); }

    result set_root_key(const key &root) { return result(gk_context_set_root_key(native(), root.native())); }
    result set_tick_rate_hz(double hz) { return result(gk_context_set_tick_rate_hz(native(), hz)); }
    result set_keep_alive_interval(microseconds time) { return set(gk_context_set_keep_alive_interval_us, time); }
    result set_connection_timeout(microseconds time) { return set(gk_context_set_connection_timeout_us, time); }
    result set_handshake_timeout(microseconds time) { return set(gk_context_set_handshake_timeout_us, time); }
    result set_message_timeout(microseconds time) { return set(gk_context_set_message_timeout_us, time); }
    result set_reconcile_interval(microseconds time) { return set(gk_context_set_reconcile_interval_us, time); }
    result set_send_interval(microseconds time) { return set(gk_context_set_send_interval_us, time); }
    result set_reassembly_timeout(microseconds time) { return set(gk_context_set_reassembly_timeout_us, time); }
    result set_mtu(uint32_t size) { return result(gk_context_set_mtu(native(), size)); }
    result set_max_peers(uint32_t count) { return result(gk_context_set_max_peers(native(), count)); }
    result set_max_handshakes(uint32_t count) { return result(gk_context_set_max_handshakes(native(), count)); }
    result set_hellos_per_source_hz(double hz) { return result(gk_context_set_hellos_per_source_hz(native(), hz)); }
    result set_hellos_total_hz(double hz) { return result(gk_context_set_hellos_total_hz(native(), hz)); }
    result set_max_message_size(size_t size) { return result(gk_context_set_max_message_size(native(), size)); }
    result set_max_queued_messages(uint32_t count) {
        return result(gk_context_set_max_queued_messages(native(), count));
    }
    result set_max_queued_bytes(size_t size) { return result(gk_context_set_max_queued_bytes(native(), size)); }
    result set_max_reassembly_bytes(size_t size) {
        return result(gk_context_set_max_reassembly_bytes(native(), size));
    }
    result set_max_queued_events(uint32_t count) {
        gk_result code = gk_context_set_max_queued_events(native(), count);
        if (code == GK_OK) pulls_ = count > 0;
        return result(code);
    }
    result set_max_queued_event_bytes(size_t size) {
        return result(gk_context_set_max_queued_event_bytes(native(), size));
    }
    result set_socket_receive_bytes(size_t size) {
        return result(gk_context_set_socket_receive_bytes(native(), size));
    }
    result set_socket_send_bytes(size_t size) { return result(gk_context_set_socket_send_bytes(native(), size)); }
    /// One of `GK_IO_…`.
    result set_io(gk_io io) { return result(gk_context_set_io(native(), io)); }
    /// Which datagram formats a server speaks.
    result set_wires(bool mpgameserver, bool native_wire) {
        return result(gk_context_set_wires(native(), mpgameserver, native_wire));
    }
    /// Copies ahead of a loss of all short messages, 0 to 4. Native wire.
    result set_redundancy(uint32_t copies) { return result(gk_context_set_redundancy(native(), copies)); }
    /// How long the loop of a server or a client does not sleep after the last datagram; it costs a whole core.
    result set_busy_poll(microseconds time) { return set(gk_context_set_busy_poll_us, time); }
    result set_block_list(const std::vector<std::string> &entries) {
        std::vector<const char *> texts;
        for (const std::string &entry : entries) texts.push_back(entry.c_str());
        return result(gk_context_set_block_list(native(), texts.data(), texts.size()));
    }
    result set_access_log(const std::string &path) {
        return result(gk_context_set_access_log(native(), path.c_str()));
    }

    /// Where the server shows what it does, as "127.0.0.1:8080"; without: nowhere. Beyond the loopback it needs a token.
    result set_dashboard(const std::optional<std::string> &address) {
        return result(gk_context_set_dashboard(native(), address ? address->c_str() : nullptr));
    }
    /// What who looks must know: 16 to 256 printable characters.
    result set_dashboard_token(const std::optional<std::string> &token) {
        return result(gk_context_set_dashboard_token(native(), token ? token->c_str() : nullptr));
    }

    result set_authorise(bool enabled) { return result(gk_context_set_authorise(native(), enabled)); }
    result set_max_joining(uint32_t count) { return result(gk_context_set_max_joining(native(), count)); }
    result set_authorise_timeout(microseconds time) { return set(gk_context_set_authorise_timeout_us, time); }
    /// A door for streams (TCP); options that `gk_stream_options_init` filled, or null.
    result listen_stream(const std::string &address, gk_framing framing, const gk_stream_options *options = nullptr) {
        return result(gk_context_listen_stream_with(native(), address.c_str(), framing, options));
    }
    /// Clients in streams speak TLS; whom they believe: see gk::stream_tls(). Null: no TLS.
    result set_stream_tls(const gk_stream_tls *tls) { return result(gk_context_set_stream_tls(native(), tls)); }
    /// Clients talk in a stream; options as above.
    result connect_stream(gk_framing framing, const gk_stream_options *options = nullptr) {
        return result(gk_context_connect_stream(native(), framing, options));
    }
    /// A door for streams through which files come, too: with lengths, or raw and plain.
    result listen_stream_files(const std::string &address, gk_framing framing, const gk_stream_options *options = nullptr) {
        return result(gk_context_listen_stream_files(native(), address.c_str(), framing, options));
    }
    /// Clients talk in a stream with lengths, and send and receive files there.
    result connect_stream_files(const gk_stream_options *options = nullptr) {
        return result(gk_context_connect_stream_files(native(), options));
    }

    /// Without one: everybody may come in. To a client it is what it says to get in.
    result set_password(std::optional<bytes> password) {
        bytes given = password.value_or(bytes());
        return result(gk_context_set_password(native(), given.data, given.size));
    }
    /// To a client the server is its peer.
    result set_peer_send_rate(uint64_t bytes_per_second) {
        return result(gk_context_set_peer_send_rate(native(), bytes_per_second));
    }
    result set_server_send_rate(uint64_t bytes_per_second) {
        return result(gk_context_set_server_send_rate(native(), bytes_per_second));
    }
    /// A door for HTTP and WebSockets; with files for HTTPS.
    result listen_http(const std::string &address, const std::string &cert = {}, const std::string &key = {}) {
        return result(gk_context_listen_http(native(), address.c_str(), cert.empty() ? nullptr : cert.c_str(),
                                             key.empty() ? nullptr : key.c_str()));
    }
    /// What is answered there: `function` makes a gk::request of what it gets.
    result route(const std::string &method, const std::string &pattern, gk_route_fn function, void *user_data = nullptr) {
        return result(gk_context_route(native(), method.c_str(), pattern.c_str(), function, user_data));
    }
    result route_websocket(const std::string &pattern, gk_route_fn function = nullptr, void *user_data = nullptr) {
        return result(gk_context_route_websocket(native(), pattern.c_str(), function, user_data));
    }
    /// Files below a directory, by what the pattern's last name stands for.
    result route_files(const std::string &pattern, const std::string &directory) {
        return result(gk_context_route_files(native(), pattern.c_str(), directory.c_str()));
    }
    /// Takes doors and routes out again.
    result clear_http() { return result(gk_context_clear_http(native())); }
    /// The longest body, of the routes that are added from now on.
    result set_http_max_body(size_t bytes) { return result(gk_context_set_http_max_body(native(), bytes)); }
    /// The door of the routes that are added from now on, in the order of `listen_http`.
    result set_http_route_door(uint32_t door) { return result(gk_context_set_http_route_door(native(), door)); }
    result set_http_max_body_bytes(size_t bytes) { return result(gk_context_set_http_max_body_bytes(native(), bytes)); }
    result set_http_max_connections(uint32_t count, uint32_t per_source) {
        return result(gk_context_set_http_max_connections(native(), count, per_source));
    }
    result set_http_max_requests(uint32_t count) { return result(gk_context_set_http_max_requests(native(), count)); }
    result set_http_request_timeout(microseconds time) { return set(gk_context_set_http_request_timeout_us, time); }
    result set_http_head_timeout(microseconds time) { return set(gk_context_set_http_head_timeout_us, time); }
    result set_http_password_in_clear(bool on) {
        return result(gk_context_set_http_password_in_clear(native(), on ? 1 : 0));
    }
    result set_raw_datagrams(bool enabled) { return result(gk_context_set_raw_datagrams(native(), enabled)); }
    /// Without info: no answer to those who look for servers.
    result set_discovery_info(std::optional<bytes> info) {
        bytes given = info.value_or(bytes());
        return result(gk_context_set_discovery_info(native(), given.data, given.size));
    }

    /// Lets files be sent and received; without a quota it does not.
    result set_files(const std::optional<gk_file_quota> &quota = file_quota()) {
        return result(gk_context_set_files(native(), quota ? &*quota : nullptr));
    }

    // What only clients take, beside set_password.
    result set_wire(gk_wire wire) { return result(gk_context_set_wire(native(), wire)); }
    result pin_native_key(bytes key) { return result(gk_context_pin_native_key(native(), key.data, key.size)); }
    result pin_root_key(bytes der) { return result(gk_context_pin_root_key(native(), der.data, der.size)); }
    result trust_any_server() { return result(gk_context_trust_any_server(native())); }
    result set_join_data(bytes data) { return result(gk_context_set_join_data(native(), data.data, data.size)); }

    // The callbacks. Servers copy them when they start, so what they capture is shared or copied with them.
    void on_starting(std::function<void(server_ref)> f) { handlers_.starting = std::move(f); }
    void on_connect(std::function<void(server_ref, peer, const gk_connect_info &)> f) {
        handlers_.connect = std::move(f);
    }
    void on_disconnect(std::function<void(server_ref, peer, const gk_disconnect_info &)> f) {
        handlers_.disconnect = std::move(f);
    }
    void on_message(std::function<void(server_ref, peer, const gk_message &)> f) {
        handlers_.message = std::move(f);
    }
    void on_update(std::function<void(server_ref, const gk_update &)> f) { handlers_.update = std::move(f); }
    void on_writable(std::function<void(server_ref, peer)> f) { handlers_.writable = std::move(f); }
    void on_reconcile(std::function<void(server_ref)> f) { handlers_.reconcile = std::move(f); }
    void on_shutdown(std::function<void(server_ref)> f) { handlers_.shutdown = std::move(f); }
    void on_log(std::function<void(server_ref, gk_log_level, std::string_view)> f) {
        handlers_.log = std::move(f);
    }
    /// Decides about everybody, by server_ref::accept and server_ref::refuse, in there or later.
    void on_authorise(std::function<void(server_ref, peer, const gk_join_request &)> f) {
        handlers_.authorise = std::move(f);
    }
    /// Datagrams that are of no wire, and where they came from.
    void on_raw(std::function<void(server_ref, std::string_view, bytes)> f) { handlers_.raw = std::move(f); }
    /// Files that are offered: server_ref::accept_file and refuse_file decide, in there or later.
    void on_file_offer(std::function<void(server_ref, peer, gk_file, const gk_file_offer &)> f) {
        handlers_.file_offer = std::move(f);
    }
    /// Bytes that are written, and those in all.
    void on_file_progress(std::function<void(server_ref, peer, gk_file, uint64_t, uint64_t)> f) {
        handlers_.file_progress = std::move(f);
    }
    void on_file_end(std::function<void(server_ref, peer, gk_file, const gk_file_end &)> f) {
        handlers_.file_end = std::move(f);
    }
    /// Told what a callback or a completion threw, on the thread that called it.
    void on_exception(std::function<void(std::exception_ptr)> f) {
        client_handlers_.exception = f;
        handlers_.exception = std::move(f);
    }

    // The callbacks of clients, which copy them likewise.
    void on_client_connecting(std::function<void(client_ref, std::string_view)> f) {
        client_handlers_.connecting = std::move(f);
    }
    void on_client_connect(std::function<void(client_ref, const gk_connect_info &)> f) {
        client_handlers_.connect = std::move(f);
    }
    void on_client_disconnect(std::function<void(client_ref, const gk_disconnect_info &)> f) {
        client_handlers_.disconnect = std::move(f);
    }
    void on_client_message(std::function<void(client_ref, const gk_message &)> f) {
        client_handlers_.message = std::move(f);
    }
    void on_client_update(std::function<void(client_ref, const gk_update &)> f) {
        client_handlers_.update = std::move(f);
    }
    void on_client_writable(std::function<void(client_ref)> f) { client_handlers_.writable = std::move(f); }
    void on_client_shutdown(std::function<void(client_ref)> f) { client_handlers_.shutdown = std::move(f); }
    void on_client_file_offer(std::function<void(client_ref, gk_file, const gk_file_offer &)> f) {
        client_handlers_.file_offer = std::move(f);
    }
    void on_client_file_progress(std::function<void(gk_file, uint64_t, uint64_t)> f) {
        client_handlers_.file_progress = std::move(f);
    }
    void on_client_file_end(std::function<void(gk_file, const gk_file_end &)> f) {
        client_handlers_.file_end = std::move(f);
    }
    void on_client_log(std::function<void(client_ref, gk_log_level, std::string_view)> f) {
        client_handlers_.log = std::move(f);
    }

private:
    friend class server;
    friend class client;
    template <class Ref, class Handlers, auto give_back>
    friend class detail::owning;
    struct end {
        void operator()(gk_context *context) const noexcept { gk_context_free(context); }
    };
    explicit context(gk_context *owned) : context_(owned) {}
    result set(gk_result (*function)(gk_context *, uint64_t), microseconds time) {
        // A negative time is as far out of range as can be.
        return result(function(native(), time.count() < 0 ? GK_FOREVER : static_cast<uint64_t>(time.count())));
    }
    template <auto member, class Function>
    gk_result attach(Function function, detail::handlers *owner) const {
        if (owner->*member) return function(native(), detail::trampoline<member>::call, owner);
        return function(native(), nullptr, nullptr);
    }
    /// Points the C context at these handlers, for the start that follows.
    result attach_all(detail::handlers *owner) const {
        using h = detail::handlers;
        gk_result code = attach<&h::starting>(gk_context_on_starting, owner);
        if (code == GK_OK) code = attach<&h::connect>(gk_context_on_connect, owner);
        if (code == GK_OK) code = attach<&h::disconnect>(gk_context_on_disconnect, owner);
        if (code == GK_OK) code = attach<&h::message>(gk_context_on_message, owner);
        if (code == GK_OK) code = attach<&h::update>(gk_context_on_update, owner);
        if (code == GK_OK) code = attach<&h::writable>(gk_context_on_writable, owner);
        if (code == GK_OK) code = attach<&h::reconcile>(gk_context_on_reconcile, owner);
        if (code == GK_OK) code = attach<&h::log>(gk_context_on_log, owner);
        if (code == GK_OK) code = attach<&h::authorise>(gk_context_on_authorise, owner);
        if (code == GK_OK) {
            code = gk_context_on_raw(native(), owner->raw ? detail::on_raw : nullptr, owner->raw ? owner : nullptr);
        }
        if (code == GK_OK) {
            gk_file_offer_fn offer = nullptr;
            gk_file_progress_fn progress = nullptr;
            gk_file_end_fn ended = nullptr;
            if (owner->file_offer) offer = detail::trampoline<&h::file_offer>::call;
            if (owner->file_progress) progress = detail::trampoline<&h::file_progress>::call;
            if (owner->file_end) ended = detail::trampoline<&h::file_end>::call;
            code = gk_context_on_file(native(), offer, progress, ended, owner);
        }
        // The shutdown ends handlers whose server was freed inside a callback. A host that pulls gets it as an
        // event instead, unless it asked for the callback.
        bool wanted = owner->shutdown || (owner->any() && !pulls_);
        if (code == GK_OK) {
            code = gk_context_on_shutdown(native(), wanted ? detail::on_shutdown : nullptr, wanted ? owner : nullptr);
        }
        return result(code);
    }

    template <auto member, class Function>
    gk_result attach_client(Function function, detail::client_handlers *owner) const {
        if (owner->*member) return function(native(), detail::client_trampoline<member>::call, owner);
        return function(native(), nullptr, nullptr);
    }
    /// The same for a client.
    result attach_all(detail::client_handlers *owner) const {
        using h = detail::client_handlers;
        gk_result code = attach_client<&h::connecting>(gk_context_on_client_connecting, owner);
        if (code == GK_OK) code = attach_client<&h::connect>(gk_context_on_client_connect, owner);
        if (code == GK_OK) code = attach_client<&h::disconnect>(gk_context_on_client_disconnect, owner);
        if (code == GK_OK) code = attach_client<&h::message>(gk_context_on_client_message, owner);
        if (code == GK_OK) code = attach_client<&h::update>(gk_context_on_client_update, owner);
        if (code == GK_OK) code = attach_client<&h::writable>(gk_context_on_client_writable, owner);
        if (code == GK_OK) code = attach_client<&h::log>(gk_context_on_client_log, owner);
        if (code == GK_OK) {
            gk_client_file_offer_fn offer = nullptr;
            if (owner->file_offer) offer = detail::client_trampoline<&h::file_offer>::call;
            code = gk_context_on_client_file(native(), offer,
                                             owner->file_progress ? detail::on_client_file_progress : nullptr,
                                             owner->file_end ? detail::on_client_file_end : nullptr, owner);
        }
        bool wanted = owner->shutdown || (owner->any() && !pulls_);
        if (code == GK_OK) {
            code = gk_context_on_client_shutdown(native(), wanted ? detail::on_client_shutdown : nullptr,
                                                 wanted ? owner : nullptr);
        }
        return result(code);
    }

    std::unique_ptr<gk_context, end> context_;
    detail::handlers handlers_;
    detail::client_handlers client_handlers_;
    bool pulls_ = false;
};

namespace detail {

/// A running server or client: what `Ref` names, stopped and freed by the destructor, and the handlers that it calls.
template <class Ref, class Handlers, auto give_back>
class owning : public Ref {
public:
    owning(owning &&other) noexcept : Ref(std::exchange(other.ref(), Ref())), owner_(std::move(other.owner_)) {}
    owning &operator=(owning &&other) noexcept {
        if (this != &other) {
            end();
            ref() = std::exchange(other.ref(), Ref());
            owner_ = std::move(other.owner_);
        }
        return *this;
    }
    ~owning() { end(); }

protected:
    using native_pointer = decltype(std::declval<const Ref &>().native());

    owning(native_pointer made, std::unique_ptr<Handlers> owner) : Ref(made, owner.get()), owner_(std::move(owner)) {}

    template <class Made, class Starter>
    static expected<Made> make(Starter starter, const context &from, const Handlers &handlers,
                               const std::string &address) {
        auto owner = std::make_unique<Handlers>(handlers);
        gk::result started = from.attach_all(owner.get());
        native_pointer made = nullptr;
        if (started) started = gk::result(starter(from.native(), address.c_str(), &made));
        // What was started has its copy. A start by native() must not find what may be gone by then.
        Handlers none;
        gk::result detached = from.attach_all(&none);
        if (!started) return started;
        if (!detached) {
            give_back(made);
            return detached;
        }
        return Made(made, std::move(owner));
    }

private:
    Ref &ref() noexcept { return *this; }

    void end() noexcept {
        native_pointer ended = this->native();
        if (ended == nullptr) return;
        if (owner_ && scope::contains(owner_.get())) {
            // The callback that runs, and those that stopping makes, still need the handlers. The shutdown ends
            // them. (A host that pulls and frees what it runs inside a callback leaves them behind.)
            owner_->orphan = true;
            owner_.release();
        }
        ref() = Ref();
        give_back(ended);
        owner_.reset();
    }

    std::unique_ptr<Handlers> owner_;
};

} // namespace detail

/// A running server, stopped and freed by its destructor: which waits, except inside one of the server's own
/// callbacks, where it takes effect when the callback has returned.
class server : public detail::owning<server_ref, detail::handlers, gk_server_free> {
public:
    /// On a thread of its own.
    static expected<server> start(context &from, const std::string &address) {
        return make<server>(gk_server_start, from, from.handlers_, address);
    }
    /// For the host to poll.
    static expected<server> open(context &from, const std::string &address) {
        return make<server>(gk_server_open, from, from.handlers_, address);
    }

private:
    friend class detail::owning<server_ref, detail::handlers, gk_server_free>;
    server(gk_server *made, std::unique_ptr<detail::handlers> owner) : owning(made, std::move(owner)) {}
};

/// A running client, stopped and freed by its destructor: which waits, except inside one of the client's own
/// callbacks, where it takes effect when the callback has returned.
class client : public detail::owning<client_ref, detail::client_handlers, gk_client_free> {
public:
    /// On a thread of its own.
    static expected<client> start(context &from, const std::string &address) {
        return make<client>(gk_client_start, from, from.client_handlers_, address);
    }
    /// For the host to poll.
    static expected<client> open(context &from, const std::string &address) {
        return make<client>(gk_client_open, from, from.client_handlers_, address);
    }

private:
    friend class detail::owning<client_ref, detail::client_handlers, gk_client_free>;
    client(gk_client *made, std::unique_ptr<detail::client_handlers> owner) : owning(made, std::move(owner)) {}
};

/// A server that was found.
struct found {
    std::string address;
    /// What it tells of itself.
    std::vector<uint8_t> info;
    microseconds round_trip{0};
};

/// Looks for servers on ports of the local network, and at addresses; waits for answers, at most so long.
inline expected<std::vector<found>> discover(const std::vector<uint16_t> &ports,
                                             const std::vector<std::string> &addresses, microseconds timeout) {
    std::vector<const char *> texts;
    for (const std::string &address : addresses) texts.push_back(address.c_str());
    std::vector<found> all;
    auto add = [](void *user_data, const gk_found *one) {
        // Where there is no memory for one it is left out, with a line on stderr.
        detail::guarded(static_cast<const detail::handlers *>(nullptr), [&] {
            found copy;
            copy.address = one->address;
            copy.info.assign(one->info, one->info + one->len);
            copy.round_trip = microseconds(one->round_trip_us);
            static_cast<std::vector<found> *>(user_data)->push_back(std::move(copy));
        });
    };
    gk_result code = gk_client_discover(ports.data(), ports.size(), texts.data(), texts.size(),
                                        detail::wait_time(timeout), add, &all, nullptr);
    if (code != GK_OK) return result(code);
    return all;
}

} // namespace gk

#endif
