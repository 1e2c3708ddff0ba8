// gamekeeper.hpp: owners, moves, errors, callbacks, and that no exception gets out of one. It asks for
// clients as the C tests do.
#include <gamekeeper.hpp>
#include <gamekeeper.hpp>

#include <atomic>
#include <iostream>
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

static_assert(std::is_nothrow_move_constructible_v<gk::server> && !std::is_copy_constructible_v<gk::server>);
static_assert(!std::is_copy_constructible_v<gk::context> && !std::is_copy_constructible_v<gk::key>);
static_assert(std::is_move_constructible_v<gk::context> && std::is_move_assignable_v<gk::key>);

template <class Condition>
static void await(const char *what, Condition condition) {
    for (int step = 0; step < 20000 && !condition(); step++) std::this_thread::sleep_for(5ms);
    if (!condition()) {
        std::cerr << "waited for " << what << " in vain\n";
        std::exit(1);
    }
}

static void ask_for_client(const gk::server_ref &server) {
    std::cout << "client " << server.port().value() << std::endl;
}

// Captured by callbacks, to see that they are destroyed.
struct counted {
    static std::atomic<int> alive;
    counted() { alive++; }
    counted(const counted &) { alive++; }
    counted &operator=(const counted &) = default;
    ~counted() { alive--; }
};
std::atomic<int> counted::alive{0};

static void errors() {
    auto context = gk::context::create().value();
    gk::result refused = context.set_tick_rate_hz(0);
    CHECK(!refused && refused.code() == GK_ERR_ARGUMENT);
    CHECK(refused.text().find("tick_rate_hz") != std::string::npos);
    CHECK(!context.set_connection_timeout(-1us));
    CHECK(context.set_connection_timeout(2s).ok());
    CHECK(!context.set_block_list({"nonsense"}));
    CHECK(context.set_block_list({"192.0.2.0/24", "2001:db8::/32"}).ok());
    bool thrown = false;
    try {
        context.set_mtu(1).or_throw();
    } catch (const gk::error &error) {
        thrown = error.code() == GK_ERR_ARGUMENT && std::string(error.what()).find("mtu") != std::string::npos;
    }
    CHECK(thrown);
    auto server = gk::server::start(context, "nonsense");
    CHECK(!server && server.code() == GK_ERR_ADDRESS && !server.text().empty());
    thrown = false;
    try {
        (void)server.value();
    } catch (const gk::error &error) {
        thrown = error.code() == GK_ERR_ADDRESS;
    }
    CHECK(thrown);
}

static void keys() {
    gk::key key = gk::key::generate().value();
    gk::key copy = gk::key::from_pem(key.private_pem().value()).value();
    CHECK(copy.public_der().value() == key.public_der().value());
    CHECK(copy.public_pem().value() == key.public_pem().value());
    auto signature = key.sign("some words").value();
    CHECK(gk::key::verify(copy.public_der().value(), "some words", signature).ok());
    CHECK(gk::key::verify(copy.public_der().value(), "other words", signature).code() == GK_ERR_SIGNATURE);
    CHECK(gk::key::from_der(key.private_der().value()).ok());
    CHECK(gk::key::from_pem("nonsense").code() == GK_ERR_KEY);
    CHECK(gk::key::public_der_to_pem(copy.public_der().value()).value() == copy.public_pem().value());
    CHECK(gk::key::public_pem_to_der(copy.public_pem().value()).value() == copy.public_der().value());
    CHECK(gk::key::public_pem_to_der("nonsense").code() == GK_ERR_KEY);
    copy = std::move(key);
    CHECK(key.native() == nullptr && copy.native() != nullptr);
    auto context = gk::context::create().value();
    CHECK(context.set_root_key(copy).ok());
    auto server = gk::server::open(context, "127.0.0.1:0").value();
    CHECK(server.public_key_der().value() == copy.public_der().value());
    CHECK(server.native_key().value() == copy.native_public().value() && server.native_key().value().size() == 32);
}

static void versions() {
    CHECK(gk::version() == GK_VERSION && gk::version_text() == GK_VERSION_STR);
    CHECK(!gk::text_of(GK_ERR_STALE).empty() && gk::text_of(GK_ERR_STALE) != gk::text_of(GK_OK));
}

static void found_by_those_who_look() {
    auto context = gk::context::create().value();
    CHECK(context.set_discovery_info("a game").ok());
    auto server = gk::server::start(context, "127.0.0.1:0").value();
    auto all = gk::discover({}, {server.address().value()}, 30s).value();
    CHECK(all.size() == 1 && all[0].address == server.address().value() && all[0].round_trip > 0us);
    CHECK(gk::bytes(all[0].info).view() == "a game");
    CHECK(gk::discover({}, {"nonsense"}, 1s).code() == GK_ERR_ADDRESS);
}

static void a_life() {
    std::atomic<int> started{0}, connected{0}, messages{0}, updates{0}, left{0}, ended{0}, sent{0}, thrown{0};
    std::atomic<gk::peer> peer{GK_PEER_NONE};
    auto context = gk::context::create().value();
    counted token;
    CHECK(context.set_handshake_timeout(slow_handshake).ok());
    context.on_starting([&, token](gk::server_ref) { started++; });
    context.on_connect([&](gk::server_ref server, gk::peer from, const gk_connect_info &info) {
        CHECK(server.peer_address(from).value() == info.address && server.peer_token(from).value() == info.token);
        peer = from;
        connected++;
    });
    context.on_authorise([&](gk::server_ref server, gk::peer from, const gk_join_request &request) {
        CHECK(request.wire == GK_WIRE_MPGAMESERVER && server.peer_status(from).value() == GK_STATUS_JOINING);
        CHECK(server.accept(from).ok() && server.refuse(from).code() == GK_ERR_STATE);
    });
    context.on_raw([&](gk::server_ref server, std::string_view from, gk::bytes data) {
        CHECK(server.send_raw(std::string(from), data).ok());
    });
    CHECK(context.set_wires(true, false).ok() && context.set_wires(false, false).code() == GK_ERR_ARGUMENT);
    CHECK(context.set_redundancy(1).ok() && context.set_redundancy(5).code() == GK_ERR_ARGUMENT);
    CHECK(context.set_io(GK_IO_PORTABLE).ok() && context.set_busy_poll(1ms).ok());
    CHECK(context.set_max_joining(10).ok() && context.set_authorise_timeout(5s).ok());
    CHECK(context.set_password("swordfish").ok() && context.set_password(std::nullopt).ok());
    CHECK(context.set_password("").code() == GK_ERR_ARGUMENT && context.set_discovery_info("here").ok());
    CHECK(context.set_peer_send_rate(1'000'000).ok() && context.set_server_send_rate(0).ok());
    CHECK(context.set_dashboard("127.0.0.1:0").ok() && context.set_dashboard_token("0123456789abcdef").ok());
    CHECK(context.set_dashboard_token("short").code() == GK_ERR_ARGUMENT && context.set_dashboard(std::nullopt).ok());
    CHECK(context.set_raw_datagrams(true).ok() && context.set_authorise(false).ok());
    context.on_message([&, token](gk::server_ref, gk::peer from, const gk_message &message) {
        CHECK(from == peer);
        if (messages++ == 0) {
            CHECK(gk::bytes(message).view() == "hello");
            throw std::runtime_error("thrown by a callback");
        }
    });
    context.on_update([&](gk::server_ref, const gk_update &update) {
        CHECK(update.seconds >= 0);
        if (updates++ == 0) throw 7;
    });
    context.on_disconnect([&](gk::server_ref, gk::peer, const gk_disconnect_info &info) {
        CHECK(info.code == GK_DISCONNECT_HOST + 5 && std::string_view(info.text) == "enough");
        left++;
    });
    context.on_shutdown([&](gk::server_ref) { ended++; });
    context.on_log([&](gk::server_ref, gk_log_level, std::string_view line) { CHECK(!line.empty()); });
    context.on_exception([&](std::exception_ptr) { thrown++; });
    {
        gk::server first = gk::server::start(context, "127.0.0.1:0").value();
        gk::server server(std::move(first));
        CHECK(first.native() == nullptr && server.native() != nullptr);
        ask_for_client(server);
        await("a message", [&] { return messages > 0; });
        server.send_guaranteed(peer, "a guaranteed one", [&, token](gk::server_ref, gk::peer, gk_outcome outcome) {
                  CHECK(outcome == GK_SENT_DELIVERED);
                  sent++;
                  throw std::runtime_error("thrown by a completion");
              }).or_throw();
        await("the completion", [&] { return sent > 0; });
        await("the exceptions", [&] { return thrown == 3; });
        CHECK(server.broadcast("to all").value() == 1 && server.broadcast("to none", GK_RETRY_NONE, peer).value() == 0);
        std::vector<gk::outgoing> many(3);
        many[0] = {peer, "one of many"};
        many[2] = {peer, "another", GK_RETRY_ON_TIMEOUT};
        CHECK((server.send_many(many).value() == std::vector<gk_result>{GK_OK, GK_ERR_STALE, GK_OK}));
        CHECK(server.send_many({}).value().empty());
        std::string_view red = std::string_view("red rooms").substr(0, 3);
        CHECK(server.set_redundancy(peer, 4).ok() && server.set_redundancy(peer, 5).code() == GK_ERR_ARGUMENT);
        CHECK(server.group_add(red, peer).ok() && server.group_send("red", "to one").value().sent == 1);
        CHECK(server.group_send(red, "to none", GK_RETRY_NONE, peer).value().sent == 0);
        CHECK(server.group_remove(red, peer).ok() && server.group_send(red, "to none").value().sent == 0);
        for (std::string_view bad : {std::string_view(), std::string_view("a\0b", 3)}) {
            CHECK(server.group_add(bad, peer).code() == GK_ERR_ARGUMENT);
            CHECK(server.group_remove(bad, peer).code() == GK_ERR_ARGUMENT);
            CHECK(server.group_send(bad, "x").code() == GK_ERR_ARGUMENT);
        }
        CHECK(server.send_raw("127.0.0.1:9", "unasked").code() == GK_ERR_STATE);
        CHECK(server.set_discovery_info(std::nullopt).ok());
        CHECK(server.peers().value() == std::vector<gk::peer>{peer});
        CHECK(server.peer_status(peer).value() == GK_STATUS_CONNECTED && server.peer_stats(peer).value().received > 0);
        CHECK(server.peer_wire(peer).value() == GK_WIRE_MPGAMESERVER && server.peer_stats(peer).value().migrations == 0);
        CHECK(server.stats().value().simulated_send.pushed == 0);
        CHECK(server.stats().value().peers == 1 && server.series().value().size() == 300);
        CHECK(server.profile_series().value().size() == 300);
        CHECK(server.set_peer_series(peer, true).ok() && server.peer_series(peer).value().size() == 300);
        CHECK(server.set_peer_user_data(peer, &sent).ok() && server.peer_user_data(peer).value() == &sent);
        gk_conditions conditions = gk::no_conditions();
        CHECK(conditions.struct_size == sizeof conditions && conditions.loss == 0);
        conditions.delay_us = 1000;
        CHECK(server.simulate(GK_DIRECTION_SEND, &conditions).ok());
        CHECK(server.simulate(peer, GK_DIRECTION_RECEIVE, &conditions).ok());
        conditions.loss = 2;
        CHECK(server.simulate(peer, GK_DIRECTION_RECEIVE, &conditions).code() == GK_ERR_ARGUMENT);
        CHECK(server.simulate(GK_DIRECTION_SEND, nullptr).ok());
        // A completion of a message that is not taken is destroyed and not called.
        int alive = counted::alive;
        gk::send_options options;
        options.on_sent = [token](gk::server_ref, gk::peer, gk_outcome) { CHECK(!"called"); };
        CHECK(server.send(GK_PEER_NONE, "nobody", std::move(options)).code() == GK_ERR_STALE);
        options = {};
        CHECK(counted::alive == alive);
        CHECK(server.disconnect(peer, "enough", GK_DISCONNECT_HOST + 5).ok());
        await("the disconnect", [&] { return left > 0; });
        CHECK(server.poll(0us).code() == GK_ERR_STATE && !server.is_stopped());
        CHECK(server.wait(1us).code() == GK_ERR_TIMEOUT);
    }
    CHECK(started == 1 && connected == 1 && left == 1 && ended == 1 && sent == 1);
    // The server and its handlers are gone; the C context does not point to them.
    gk_server *bare = nullptr;
    CHECK(gk_server_start(context.native(), "127.0.0.1:0", &bare) == GK_OK);
    gk_server_free(bare);
    CHECK(started == 1 && ended == 1);
}

static void polled_and_pulled() {
    auto context = gk::context::create().value();
    int updates = 0;
    context.on_update([&](gk::server_ref server, const gk_update &) {
        CHECK(server.poll(0us).code() == GK_ERR_REENTRANT);
        updates++;
    });
    CHECK(context.set_max_queued_events(1000).ok());
    gk::server server = gk::server::open(context, "127.0.0.1:0").value();
    CHECK(server.descriptor().value() >= 0 && server.next_timeout().value().has_value());
    while (updates < 3) CHECK(server.poll(1s).ok());
    std::vector<gk_event> events;
    CHECK(server.next_events(events).ok());
    CHECK(!events.empty() && events[0].type == GK_EVENT_STARTING);
    CHECK(server.stop().ok() && server.is_stopped());
    CHECK(server.next_events(events).ok());
    // The wrapper does not take the shutdown away from a host that pulls.
    CHECK(!events.empty() && events.back().type == GK_EVENT_SHUTDOWN);
}

// Destroyed inside a callback, and what it captured is destroyed with it, later.
static void ended_inside_a_callback() {
    CHECK(counted::alive == 0);
    std::atomic<int> ended{0};
    std::optional<gk::server> server;
    {
        auto context = gk::context::create().value();
        CHECK(context.set_handshake_timeout(slow_handshake).ok());
        context.on_message([&, token = counted()](gk::server_ref, gk::peer, const gk_message &) { server.reset(); });
        context.on_shutdown([&](gk::server_ref) { ended++; });
        server.emplace(gk::server::start(context, "127.0.0.1:0").value());
    }
    CHECK(counted::alive == 1);
    ask_for_client(*server);
    await("the shutdown", [&] { return ended > 0; });
    await("the end of the handlers", [] { return counted::alive == 0; });
    CHECK(!server.has_value());
}

int main() {
    errors();
    versions();
    keys();
    found_by_those_who_look();
    a_life();
    polled_and_pulled();
    ended_inside_a_callback();
    std::cout << "ok" << std::endl;
}
