// gk::client: a server and its clients of the native wire in one program. They talk in every mode, pin keys, are
// refused, move, and end inside their own callbacks. It compiles without exceptions and RTTI.
#include <gamekeeper.hpp>

#include <atomic>
#include <iostream>
#include <map>
#include <mutex>
#include <thread>
#include <type_traits>

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            std::cerr << __FILE__ << ":" << __LINE__ << ": not so: " << #condition << "\n"; \
            std::exit(1);                                                                   \
        }                                                                                   \
    } while (0)

using namespace std::chrono_literals;

// Under valgrind on a busy machine it takes longer than the two seconds of the default.
static constexpr auto slow_handshake = 60s;

static_assert(std::is_nothrow_move_constructible_v<gk::client> && std::is_nothrow_move_assignable_v<gk::client>);
static_assert(!std::is_copy_constructible_v<gk::client> && !std::is_copy_assignable_v<gk::client>);

template <class Condition>
static void await(const char *what, Condition condition) {
    for (int step = 0; step < 12000 && !condition(); step++) std::this_thread::sleep_for(5ms);
    if (!condition()) {
        std::cerr << "waited for " << what << " in vain\n";
        std::exit(1);
    }
}

/// Sends every message back as it came: same mode, same channel.
static gk::server echoing(gk::context &context) {
    context.on_message([](gk::server_ref server, gk::peer from, const gk_message &message) {
        gk::send_options options;
        options.retry = message.mode;
        options.channel = static_cast<uint8_t>(message.channel);
        CHECK(server.send(from, message, std::move(options)).ok());
    });
    CHECK(context.set_handshake_timeout(slow_handshake).ok());
    return *gk::server::start(context, "127.0.0.1:0");
}

static gk::server echoing() {
    auto context = gk::context::create();
    CHECK(context.ok());
    return echoing(*context);
}

static gk::context calling() {
    auto context = gk::context::create();
    CHECK(context.ok() && context->trust_any_server().ok() && context->set_wire(GK_WIRE_NATIVE).ok());
    CHECK(context->set_handshake_timeout(slow_handshake).ok());
    return *std::move(context);
}

/// How the session of a client ended.
struct ending {
    std::atomic<int> connects{0}, disconnects{0}, code{0}, app_code{0};
    std::string text;

    void watch(gk::context &context) {
        context.on_client_connect([this](gk::client_ref, const gk_connect_info &) { connects++; });
        context.on_client_disconnect([this](gk::client_ref, const gk_disconnect_info &info) {
            code = info.code;
            app_code = static_cast<int>(info.app_code);
            text = info.text;
            disconnects++;
        });
    }
};

static void talks_in_every_mode() {
    const gk_retry_mode modes[] = {GK_RETRY_NONE, GK_RETRY_BEST_EFFORT, GK_RETRY_ON_TIMEOUT, GK_RETRY_SEQUENCED,
                                   GK_RETRY_ORDERED};
    std::atomic<int> connectings{0}, updates{0}, lines{0}, shutdowns{0}, delivered{0}, plain{0};
    std::mutex mutex;
    std::map<gk_retry_mode, int> echoed;
    ending end;
    gk::server server = echoing();
    gk::context context = calling();
    end.watch(context);
    context.on_client_connecting([&](gk::client_ref, std::string_view address) {
        CHECK(address == *server.address());
        connectings++;
    });
    context.on_client_message([&](gk::client_ref client, const gk_message &message) {
        CHECK(client.poll(0us).code() == GK_ERR_REENTRANT || client.poll(0us).code() == GK_ERR_STATE);
        CHECK(message.channel == (message.mode >= GK_RETRY_SEQUENCED ? 7u : 0u));
        CHECK(gk::bytes(message).view() == "mode " + std::to_string(message.mode));
        std::lock_guard<std::mutex> lock(mutex);
        echoed[message.mode]++;
    });
    context.on_client_update([&](gk::client_ref, const gk_update &) { updates++; });
    context.on_client_writable([](gk::client_ref) {});
    context.on_client_log([&](gk::client_ref, gk_log_level, std::string_view line) { lines += !line.empty(); });
    context.on_client_shutdown([&](gk::client_ref) { shutdowns++; });
    CHECK(context.set_join_data("name").ok());
    {
        gk::client client = *gk::client::start(context, *server.address());
        await("the session", [&] { return end.connects == 1; });
        CHECK(*client.status() == GK_STATUS_CONNECTED && *client.token() != 0);
        CHECK(*client.server_address() == *server.address() && client.local_address().ok());
        CHECK(client.server_native_key()->size() == 32);
        for (gk_retry_mode mode : modes) {
            // A message that is sent once may be lost, on a busy machine even here.
            for (int attempt = 0; attempt < 100; attempt++) {
                gk::send_options options;
                options.retry = mode;
                options.channel = mode >= GK_RETRY_SEQUENCED ? 7 : 0;
                options.priority = GK_PRIORITY_URGENT;
                options.redundancy = 2;
                options.deadline = 10s;
                CHECK(client.send("mode " + std::to_string(mode), std::move(options)).ok());
                auto came = [&] {
                    std::lock_guard<std::mutex> lock(mutex);
                    return echoed[mode] > 0;
                };
                for (int step = 0; step < 40 && !came(); step++) std::this_thread::sleep_for(5ms);
                if (came()) break;
            }
            std::lock_guard<std::mutex> lock(mutex);
            CHECK(echoed[mode] > 0);
        }
        gk::send_options wrong;
        wrong.redundancy = 5;
        CHECK(client.send("x", wrong).code() == GK_ERR_ARGUMENT);
        wrong = {};
        wrong.priority = 4;
        CHECK(client.send("x", wrong).code() == GK_ERR_ARGUMENT);
        gk_client *expected = client.native();
        auto told = [&](gk::client_ref by, gk_outcome outcome) {
            CHECK(by.native() == expected);
            delivered += outcome == GK_SENT_DELIVERED;
        };
        CHECK(client.send_guaranteed("mode -1", told).ok());
        gk::send_options both;
        both.retry = GK_RETRY_ON_TIMEOUT;
        both.on_sent = [&](gk::server_ref none, gk::peer peer, gk_outcome outcome) {
            plain += none.native() == nullptr && peer == GK_PEER_NONE && outcome == GK_SENT_DELIVERED;
        };
        CHECK(client.send("mode -1", std::move(both), told).ok());
        await("outcomes", [&] { return delivered == 2 && plain == 1; });
        CHECK(client.stats()->messages_received >= 5 && client.latency().ok() && client.queued_bytes().ok());
        uint32_t received = 0;
        for (const gk_second &second : *client.series()) received += second.packets_received;
        CHECK(client.series()->size() == 300 && received > 0);
        await("the server's clock", [&] { return client.server_clock().ok() && client.server_tick().ok(); });
        CHECK(*client.server_clock() > 0us && *client.server_tick() >= 0);
        gk_conditions conditions;
        CHECK(gk_conditions_init(&conditions, sizeof conditions) == GK_OK);
        CHECK(client.simulate(GK_DIRECTION_SEND, &conditions).ok() && client.simulate(GK_DIRECTION_SEND, nullptr).ok());
        CHECK(client.reconnect().ok());
        await("another session", [&] { return end.connects == 2; });
        CHECK(end.disconnects == 1 && end.code == GK_DISCONNECT_LOCAL);
        CHECK(client.disconnect_wait(60s).ok() && *client.status() == GK_STATUS_DISCONNECTED);
        CHECK(client.disconnect().ok() && client.send("x").code() == GK_ERR_STATE);
        CHECK(!client.is_stopped() && client.wait(1us).code() == GK_ERR_TIMEOUT);
    }
    CHECK(connectings == 2 && updates > 0 && lines > 0 && shutdowns == 1);
}

/// What a first session, which trusts whoever answers, has seen of a server's key.
static std::vector<uint8_t> key_of(const gk::server &server) {
    gk::context context = calling();
    gk::client client = *gk::client::start(context, *server.address());
    await("the first session", [&] { return *client.status() == GK_STATUS_CONNECTED; });
    return *client.server_native_key();
}

static void the_pinned_key_decides() {
    ending right, wrong;
    gk::server server = echoing();
    const std::vector<uint8_t> key = key_of(server);
    auto context = gk::context::create();
    CHECK(gk::client::start(*context, *server.address()).code() == GK_ERR_KEY);
    CHECK(context->pin_native_key("short").code() == GK_ERR_KEY && context->pin_native_key(key).ok());
    CHECK(context->pin_root_key(*server.public_key_der()).ok());
    CHECK(context->set_handshake_timeout(slow_handshake).ok());
    right.watch(*context);
    gk::client client = *gk::client::start(*context, *server.address());
    await("the pinned session", [&] { return right.connects == 1; });
    CHECK(*client.server_native_key() == key);

    gk::server other = echoing();
    wrong.watch(*context);
    CHECK(context->set_handshake_timeout(300ms).ok());
    gk::client cheated = *gk::client::start(*context, *other.address());
    await("the end", [&] { return wrong.disconnects == 1; });
    // A server does not answer what is not for its key.
    CHECK(wrong.code == GK_DISCONNECT_TIMEOUT && wrong.connects == 0 && other.peers()->empty());
}

static void passwords() {
    auto host = gk::context::create();
    CHECK(host->set_root_key(*gk::key::generate()).ok());
    // Nobody tells an unknown server a password; one without a password shows the key of both.
    const std::vector<uint8_t> key = key_of(echoing(*host));
    CHECK(host->set_password("swordfish").ok());
    gk::server server = echoing(*host);
    const char *given[] = {nullptr, "catfish", "swordfish"};
    const int codes[] = {GK_REFUSED_PASSWORD_WANTED, GK_REFUSED_PASSWORD_WRONG, 0};
    for (int at = 0; at < 3; at++) {
        ending end;
        gk::context context = calling();
        CHECK(context.pin_native_key(key).ok());
        end.watch(context);
        if (given[at] != nullptr) CHECK(context.set_password(given[at]).ok());
        gk::client client = *gk::client::start(context, *server.address());
        await("a decision", [&] { return end.connects + end.disconnects > 0; });
        CHECK((end.connects == 1) == (at == 2));
        if (at < 2) {
            CHECK(end.code == GK_DISCONNECT_REFUSED && end.app_code == codes[at] && !end.text.empty());
        }
        // Before what it captured is gone.
        CHECK(client.stop().ok());
    }
}

static void polled_pulled_and_moved() {
    gk::server server = echoing();
    gk::context context = calling();
    CHECK(context.set_max_queued_events(1000).ok());
    gk::client first = *gk::client::open(context, *server.address());
    gk::client client(std::move(first));
    CHECK(first.native() == nullptr && client.native() != nullptr);
    CHECK(client.descriptor().ok() && client.next_timeout()->has_value() && client.wake().ok());
    gk_client *kept = client.native();
    gk::client replaced = *gk::client::open(context, *server.address());
    replaced = std::move(client);
    CHECK(replaced.native() == kept && client.native() == nullptr);
    int marker = 0;
    bool sent = false, echoed = false;
    std::vector<gk_event> events;
    for (int step = 0; step < 12000 && !(sent && echoed); step++) {
        CHECK(replaced.poll(5ms).ok() && replaced.next_events(events).ok());
        for (const gk_event &event : events) {
            if (event.type == GK_EVENT_CONNECT) {
                gk::send_options options;
                options.retry = GK_RETRY_ON_TIMEOUT;
                options.notify = true;
                options.user_data = &marker;
                CHECK(replaced.send("pulled", options).ok());
            } else if (event.type == GK_EVENT_SENT) {
                sent = event.user_data == &marker && event.code == GK_SENT_DELIVERED;
            } else if (event.type == GK_EVENT_MESSAGE) {
                echoed = gk::bytes(event).view() == "pulled" && event.mode == GK_RETRY_ON_TIMEOUT;
            }
        }
    }
    CHECK(sent && echoed);
    CHECK(replaced.stop().ok() && replaced.is_stopped() && replaced.next_events(events).ok());
    CHECK(!events.empty() && events.back().type == GK_EVENT_SHUTDOWN);
}

// Destroyed inside a callback, and what it captured is destroyed with it, later.
static void ended_inside_a_callback() {
    gk::server server = echoing();
    auto token = std::make_shared<int>(0);
    std::weak_ptr<int> captured = token;
    std::atomic<int> ended{0};
    std::optional<gk::client> client;
    {
        gk::context context = calling();
        // The optional is whole before the callback takes it apart.
        std::atomic<bool> ready{false};
        context.on_client_update([&, token](gk::client_ref, const gk_update &) {
            if (ready.exchange(false)) client.reset();
        });
        context.on_client_shutdown([&](gk::client_ref) { ended++; });
        token.reset();
        client.emplace(*gk::client::start(context, *server.address()));
        ready = true;
        await("the shutdown", [&] { return ended == 1; });
    }
    await("the end of the handlers", [&] { return captured.expired(); });
    CHECK(!client.has_value());
}

int main() {
    talks_in_every_mode();
    the_pinned_key_decides();
    passwords();
    polled_pulled_and_moved();
    ended_inside_a_callback();
    std::cout << "ok" << std::endl;
}
