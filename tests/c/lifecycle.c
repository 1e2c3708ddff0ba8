/* Servers come, run and end in every way that the header names. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <poll.h>
#include <unistd.h>

#define MESSAGES 100

struct log {
    int starting, connects, disconnects, messages, updates, reconciles, shutdowns, lines;
    int after_shutdown, before_starting, other_thread;
    int stop_on_message, free_on_message, free_on_starting, stop_on_update;
    gk_server *server;
    gk_peer peer;
    int32_t code;
    pthread_t thread;
    double seconds;
    uint64_t tick;
};

static void note(struct log *log, gk_server *server, int *counter) {
    pthread_mutex_lock(&test_lock);
    if (counter == &log->starting) {
        log->thread = pthread_self();
        log->server = server;
    } else if (log->starting == 0) {
        log->before_starting++;
    }
    /* The pointer that callbacks get is always the one and the same, and so is the thread. */
    CHECK(log->server == server);
    if (!pthread_equal(log->thread, pthread_self())) log->other_thread++;
    if (log->shutdowns > 0) log->after_shutdown++;
    (*counter)++;
    pthread_mutex_unlock(&test_lock);
}

static void on_starting(void *user_data, gk_server *server) {
    struct log *log = user_data;
    note(log, server, &log->starting);
    if (log->free_on_starting) gk_server_free(server);
}

static void on_connect(void *user_data, gk_server *server, gk_peer peer, const gk_connect_info *info) {
    struct log *log = user_data;
    CHECK(info->token != 0 && peer != GK_PEER_NONE);
    pthread_mutex_lock(&test_lock);
    log->peer = peer;
    pthread_mutex_unlock(&test_lock);
    note(log, server, &log->connects);
}

static void on_disconnect(void *user_data, gk_server *server, gk_peer peer, const gk_disconnect_info *info) {
    struct log *log = user_data;
    (void)peer;
    pthread_mutex_lock(&test_lock);
    log->code = info->code;
    pthread_mutex_unlock(&test_lock);
    note(log, server, &log->disconnects);
}

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    struct log *log = user_data;
    (void)peer, (void)message;
    note(log, server, &log->messages);
    if (log->stop_on_message) {
        OK(gk_server_stop(server));
        OK(gk_server_stop(server));
    }
    if (log->free_on_message) {
        log->free_on_message = 0;
        gk_server_free(server);
    }
}

static void on_update(void *user_data, gk_server *server, const gk_update *update) {
    struct log *log = user_data;
    CHECK(update->struct_size == sizeof *update && update->seconds >= 0);
    CHECK(update->tick == log->tick + 1);
    log->tick = update->tick;
    log->seconds += update->seconds;
    note(log, server, &log->updates);
    if (log->stop_on_update) OK(gk_server_stop(server));
}

static void on_reconcile(void *user_data, gk_server *server) {
    struct log *log = user_data;
    note(log, server, &log->reconciles);
}

static void on_shutdown(void *user_data, gk_server *server) {
    struct log *log = user_data;
    note(log, server, &log->shutdowns);
}

static void on_log(void *user_data, gk_server *server, gk_log_level level, const char *text) {
    struct log *log = user_data;
    CHECK(level >= GK_LOG_ERROR && level <= GK_LOG_DEBUG && strlen(text) > 0);
    note(log, server, &log->lines);
}

static gk_context *context_for(struct log *log) {
    gk_context *context = NULL;
    memset(log, 0, sizeof *log);
    context = patient_context();
    OK(gk_context_set_tick_rate_hz(context, 200));
    OK(gk_context_set_reconcile_interval_us(context, 20000));
    OK(gk_context_on_starting(context, on_starting, log));
    OK(gk_context_on_connect(context, on_connect, log));
    OK(gk_context_on_disconnect(context, on_disconnect, log));
    OK(gk_context_on_message(context, on_message, log));
    OK(gk_context_on_update(context, on_update, log));
    OK(gk_context_on_reconcile(context, on_reconcile, log));
    OK(gk_context_on_shutdown(context, on_shutdown, log));
    OK(gk_context_on_log(context, on_log, log));
    return context;
}

#define check_end(log) check_end_at((log), __LINE__)

static void check_end_at(const struct log *log, int line) {
    if (log->starting != 1 || log->shutdowns != 1) fprintf(stderr, "at line %d\n", line);
    CHECK(log->starting == 1 && log->shutdowns == 1);
    CHECK(log->before_starting == 0 && log->after_shutdown == 0 && log->other_thread == 0);
    CHECK(log->connects == log->disconnects);
}

static void own_thread(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    gk_server_stats_t stats;
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    await("updates", &log.updates, 10, NULL);
    await("the slow timer", &log.reconciles, 2, NULL);
    await("a message", &log.messages, 1, NULL);
    CHECK(log.server == server && !pthread_equal(log.thread, pthread_self()));
    OK(gk_server_stats_init(&stats, sizeof stats));
    OK(gk_server_stats(server, &stats));
    CHECK(stats.peers == 1 && stats.connects == 1 && stats.packets_received > 1 && stats.ticks >= 10);
    /* No root key: a log line said so. */
    CHECK(value(&log.lines) > 0);
    OK(gk_server_stop(server));
    check_end(&log);
    CHECK(log.disconnects == 1 && log.code == GK_DISCONNECT_SHUTDOWN && log.seconds > 0);
    OK(gk_server_stop(server));
    OK(gk_server_wait(server, GK_FOREVER));
    gk_server_free(server);
    check_end(&log);
}

static void polled(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    struct pollfd descriptor;
    uint64_t timeout = 0;
    uint32_t stopped = 0;
    int step;
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    CHECK(log.starting == 0);
    ask_for_client(server);
    /* As a host with an event loop does it. */
    descriptor.events = POLLIN;
    OK(gk_server_descriptor(server, &descriptor.fd));
    for (step = 0; step < WAIT_STEPS && (log.messages == 0 || log.updates < 10); step++) {
        OK(gk_server_next_timeout_us(server, &timeout));
        CHECK(timeout <= 20000);
        CHECK(poll(&descriptor, 1, (int)((timeout + 999) / 1000)) >= 0);
        OK(gk_server_poll(server, 0));
    }
    CHECK(log.messages == 1 && log.updates >= 10 && pthread_equal(log.thread, pthread_self()));
    OK(gk_server_is_stopped(server, &stopped));
    CHECK(stopped == 0);
    OK(gk_server_stop(server));
    check_end(&log);
    OK(gk_server_is_stopped(server, &stopped));
    CHECK(stopped == 1);
    EXPECT(GK_ERR_STATE, gk_server_poll(server, 0));
    gk_server_free(server);
}

/* A server that nobody ever polled ends in order, too. */
static void never_polled(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    gk_server_free(server);
    check_end(&log);
    CHECK(log.updates == 0);
}

static void *stop_it(void *server) {
    sleep_step();
    OK(gk_server_stop(server));
    return NULL;
}

static void *wake_it(void *server) {
    sleep_step();
    OK(gk_server_wake(server));
    return NULL;
}

static void stopped_from_another_thread(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    pthread_t thread;
    gk_result result = GK_OK;
    int step;
    OK(gk_context_set_tick_rate_hz(context, 1));
    OK(gk_context_set_reconcile_interval_us(context, 3600000000));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    CHECK(pthread_create(&thread, NULL, wake_it, server) == 0);
    OK(gk_server_poll(server, GK_FOREVER));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, stop_it, server) == 0);
    for (step = 0; step < WAIT_STEPS && (result == GK_OK || result == GK_ERR_BUSY); step++) {
        result = gk_server_poll(server, GK_FOREVER);
        if (result == GK_ERR_BUSY) sleep_step();
    }
    EXPECT(GK_ERR_STATE, result);
    CHECK(pthread_join(thread, NULL) == 0);
    /* Between two polls, of which a tick can make several, nobody polls: then the stopper finishes it. */
    log.other_thread = 0;
    check_end(&log);
    gk_server_free(server);
}

static void stopped_from_a_callback(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    int step;
    log.stop_on_message = 1;
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    ask_for_client(server);
    OK(gk_server_wait(server, GK_FOREVER));
    check_end(&log);
    CHECK(log.messages == 1 && log.disconnects == 1);
    gk_server_free(server);

    gk_context_free(context);
    context = context_for(&log);
    log.stop_on_update = 1;
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    for (step = 0; step < WAIT_STEPS && log.shutdowns == 0; step++) {
        OK(gk_server_poll(server, GK_FOREVER));
    }
    CHECK(log.updates == 1);
    check_end(&log);
    gk_server_free(server);
}

static void freed_in_a_callback(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    gk_result result = GK_OK;
    int step;
    log.free_on_message = 1;
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    ask_for_client(server);
    await("the shutdown of a freed server", &log.shutdowns, 1, NULL);
    check_end(&log);
    CHECK(log.messages == 1);
    gk_context_free(context);

    /* The first callback can free the server before its start has returned. */
    for (step = 0; step < 100; step++) {
        context = context_for(&log);
        log.free_on_starting = 1;
        OK(gk_server_start(context, "127.0.0.1:0", &server));
        gk_context_free(context);
        await("the shutdown of a server freed at once", &log.shutdowns, 1, NULL);
        check_end(&log);
    }

    context = context_for(&log);
    log.free_on_message = 1;
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    /* The pointer dies inside one of these calls, which still returns in order; then it is not used again. */
    for (step = 0; step < WAIT_STEPS && log.messages == 0; step++) {
        result = gk_server_poll(server, 1000);
    }
    CHECK(result == GK_OK && log.messages == 1);
    /* Its stop takes effect when the callback has returned: at the latest when the poll has. */
    check_end(&log);
}

struct nested {
    gk_server *outer, *inner;
    int outer_calls, inner_calls, shutdowns;
};

static void on_inner_update(void *user_data, gk_server *server, const gk_update *update) {
    struct nested *nested = user_data;
    (void)server, (void)update;
    if (nested->inner_calls++ > 0) return;
    /* This thread is inside a callback of both. */
    EXPECT(GK_ERR_REENTRANT, gk_server_poll(nested->outer, 0));
    EXPECT(GK_ERR_REENTRANT, gk_server_wait(nested->outer, GK_FOREVER));
    EXPECT(GK_ERR_REENTRANT, gk_server_poll(nested->inner, 0));
    OK(gk_server_stop(nested->outer));
}

static void on_outer_update(void *user_data, gk_server *server, const gk_update *update) {
    struct nested *nested = user_data;
    (void)server, (void)update;
    nested->outer_calls++;
    while (nested->inner_calls == 0) OK(gk_server_poll(nested->inner, GK_FOREVER));
}

static void on_nested_shutdown(void *user_data, gk_server *server) {
    struct nested *nested = user_data;
    (void)server;
    nested->shutdowns++;
}

/* One server hosted from the callback of another: what happens in the inner one is inside the outer one. */
static void nested_servers(void) {
    struct nested nested;
    gk_context *context = NULL;
    int step;
    memset(&nested, 0, sizeof nested);
    context = patient_context();
    OK(gk_context_on_shutdown(context, on_nested_shutdown, &nested));
    OK(gk_context_on_update(context, on_outer_update, &nested));
    OK(gk_server_open(context, "127.0.0.1:0", &nested.outer));
    OK(gk_context_on_update(context, on_inner_update, &nested));
    OK(gk_server_open(context, "127.0.0.1:0", &nested.inner));
    gk_context_free(context);
    for (step = 0; step < WAIT_STEPS && nested.shutdowns == 0; step++) {
        OK(gk_server_poll(nested.outer, GK_FOREVER));
    }
    CHECK(nested.outer_calls == 1 && nested.inner_calls >= 1);
    gk_server_free(nested.outer);
    CHECK(nested.shutdowns == 1);
    gk_server_free(nested.inner);
    CHECK(nested.shutdowns == 2);
}

static void *poll_it(void *server) {
    size_t count = 0;
    gk_event event;
    uint32_t stopped = 7;
    EXPECT(GK_ERR_BUSY, gk_server_poll(server, 0));
    EXPECT(GK_ERR_BUSY, gk_server_poll(server, GK_FOREVER));
    EXPECT(GK_ERR_TIMEOUT, gk_server_wait(server, 0));
    /* Everything else is open to other threads while a callback runs. */
    OK(gk_server_next_events(server, &event, sizeof event, 1, &count));
    OK(gk_server_broadcast(server, GK_PEER_NONE, NULL, 0, NULL, NULL));
    OK(gk_server_is_stopped(server, &stopped));
    CHECK(stopped == 0);
    return NULL;
}

static void on_busy_update(void *user_data, gk_server *server, const gk_update *update) {
    pthread_t thread;
    (void)update;
    CHECK(pthread_create(&thread, NULL, poll_it, server) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    add(user_data, 1);
}

/* While one thread is inside a callback, another one calls. */
static void busy(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    int updates = 0;
    context = patient_context();
    OK(gk_context_set_max_queued_events(context, 1000));
    OK(gk_context_on_update(context, on_busy_update, &updates));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    await("an update", &updates, 1, server);
    gk_server_free(server);
}

static void many(void) {
    enum { SERVERS = 8 };
    struct log logs[SERVERS];
    gk_server *servers[SERVERS];
    int i;
    for (i = 0; i < SERVERS; i++) {
        gk_context *context = context_for(&logs[i]);
        OK(i % 2 ? gk_server_open(context, "127.0.0.1:0", &servers[i])
                 : gk_server_start(context, "127.0.0.1:0", &servers[i]));
        gk_context_free(context);
        ask_for_client(servers[i]);
    }
    for (i = 0; i < SERVERS; i++) {
        await("a message on each of many servers", &logs[i].messages, 1, i % 2 ? servers[i] : NULL);
    }
    for (i = 0; i < SERVERS; i++) {
        gk_server_free(servers[i]);
        check_end(&logs[i]);
        CHECK(logs[i].messages == 1);
    }
}

static int outcomes[2 * MESSAGES], delivered, cancelled, told;

static void on_sent(void *user_data, gk_server *server, gk_peer peer, gk_outcome outcome) {
    (void)server;
    CHECK(peer != GK_PEER_NONE);
    add((int *)user_data, 1);
    if (outcome == GK_SENT_DELIVERED) {
        add(&delivered, 1);
    } else {
        CHECK(outcome == GK_SENT_CANCELLED);
        add(&cancelled, 1);
    }
    add(&told, 1);
}

static void completions(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    gk_send_options options;
    gk_disconnect_info info;
    uint8_t data[1200];
    int i;
    memset(data, 7, sizeof data);
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    await("a peer", &log.messages, 1, NULL);
    for (i = 0; i < MESSAGES; i++) {
        OK(gk_server_send_guaranteed(server, log.peer, data, sizeof data, on_sent, &outcomes[i]));
    }
    await("all completions", &told, MESSAGES, NULL);
    CHECK(delivered == MESSAGES && cancelled == 0);
    /* The client sends back what it got. */
    await("all echoes", &log.messages, MESSAGES + 1, NULL);
    /* The peer goes while some are under way: each is told all the same, before the disconnect. */
    OK(gk_send_options_init(&options, sizeof options));
    options.retry = GK_RETRY_ON_TIMEOUT;
    options.on_sent = on_sent;
    for (i = MESSAGES; i < 2 * MESSAGES; i++) {
        options.user_data = &outcomes[i];
        OK(gk_server_send(server, log.peer, data, sizeof data, &options));
    }
    OK(gk_disconnect_info_init(&info, sizeof info));
    info.code = GK_DISCONNECT_HOST + 1;
    OK(gk_server_disconnect(server, log.peer, &info));
    await("the disconnect", &log.disconnects, 1, NULL);
    await("the rest of the completions", &told, 2 * MESSAGES, NULL);
    CHECK(log.code == GK_DISCONNECT_HOST + 1);
    gk_server_free(server);
    check_end(&log);
    CHECK(told == 2 * MESSAGES && delivered + cancelled == told);
    for (i = 0; i < 2 * MESSAGES; i++) CHECK(outcomes[i] == 1);
}

static void delivery_before_goodbye(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    gk_disconnect_info info;
    uint8_t *data = calloc(1, 300000);
    int before = delivered, count = told, outcome = 0;
    CHECK(data != NULL);
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    await("a peer", &log.messages, 1, NULL);
    OK(gk_server_send_guaranteed(server, log.peer, data, 300000, on_sent, &outcome));
    free(data);
    OK(gk_disconnect_info_init(&info, sizeof info));
    info.after_delivery = 1;
    OK(gk_server_disconnect(server, log.peer, &info));
    EXPECT(GK_ERR_STALE, gk_server_send(server, log.peer, NULL, 0, NULL));
    await("the disconnect", &log.disconnects, 1, NULL);
    CHECK(log.code == GK_DISCONNECT_KICKED && value(&told) == count + 1 && value(&delivered) == before + 1);
    gk_server_free(server);
    check_end(&log);
}

static void pulled(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_event events[64], event;
    gk_send_options options;
    size_t count = 0, i;
    int step, counts[11], tag = 0, sent = 0, last = 0;
    uint64_t tick = 0;
    gk_peer peer = GK_PEER_NONE;
    uint32_t token = 0;
    void *user_data = NULL;
    memset(counts, 0, sizeof counts);
    context = patient_context();
    OK(gk_context_set_max_queued_events(context, 10000));
    OK(gk_context_set_reconcile_interval_us(context, 20000));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    OK(gk_send_options_init(&options, sizeof options));
    options.retry = GK_RETRY_ON_TIMEOUT;
    options.notify = 1;
    options.user_data = &tag;
    for (step = 0; step < WAIT_STEPS && last != GK_EVENT_SHUTDOWN; step++) {
        OK(gk_server_next_events(server, events, sizeof *events, 64, &count));
        if (count == 0) sleep_step();
        for (i = 0; i < count; i++) {
            event = events[i];
            CHECK(event.struct_size == sizeof event && event.type >= 1 && event.type <= 10);
            CHECK(last != GK_EVENT_SHUTDOWN);
            CHECK(last != 0 || event.type == GK_EVENT_STARTING);
            last = event.type;
            counts[last]++;
            switch (event.type) {
            case GK_EVENT_CONNECT:
                peer = event.peer;
                token = event.token;
                CHECK(strncmp(event.text, "127.0.0.1:", 10) == 0 && event.door == GK_DOOR_UDP);
                OK(gk_peer_set_user_data(server, peer, &token));
                break;
            case GK_EVENT_MESSAGE:
                CHECK(event.peer == peer && event.data != NULL && event.mode == GK_MODE_UNKNOWN);
                if (counts[last] == 1) {
                    CHECK(event.len == 5 && memcmp(event.data, "hello", 5) == 0 && event.sequence > 0);
                    OK(gk_server_send(server, peer, (const uint8_t *)"tagged", 6, &options));
                } else {
                    CHECK(event.len == 6 && memcmp(event.data, "tagged", 6) == 0);
                }
                break;
            case GK_EVENT_SENT:
                CHECK(event.peer == peer && event.code == GK_SENT_DELIVERED && event.user_data == &tag);
                sent = 1;
                break;
            case GK_EVENT_DISCONNECT:
                CHECK(event.peer == peer && event.code == GK_DISCONNECT_KICKED && event.text != NULL);
                /* Answers until the next batch is taken. */
                OK(gk_peer_user_data(server, peer, &user_data));
                CHECK(user_data == &token);
                break;
            case GK_EVENT_UPDATE:
                /* Ticks that waited unpulled are one event: numbers grow, but not by one where this program is slow. */
                CHECK(event.seconds >= 0 && event.tick > tick && event.tick >= (uint64_t)counts[last]);
                tick = event.tick;
                break;
            case GK_EVENT_LOG:
                CHECK(event.text != NULL && event.code >= GK_LOG_ERROR && event.code <= GK_LOG_DEBUG);
                break;
            default:
                CHECK(event.data == NULL && event.text == NULL);
            }
        }
        if (sent && counts[GK_EVENT_MESSAGE] == 2) {
            OK(gk_server_disconnect(server, peer, NULL));
            sent = 0;
        }
        if (counts[GK_EVENT_DISCONNECT] == 1 && counts[GK_EVENT_RECONCILE] > 0) OK(gk_server_stop(server));
    }
    CHECK(counts[GK_EVENT_STARTING] == 1 && counts[GK_EVENT_CONNECT] == 1 && counts[GK_EVENT_SHUTDOWN] == 1);
    CHECK(counts[GK_EVENT_SENT] == 1 && counts[GK_EVENT_UPDATE] > 0 && counts[GK_EVENT_LOG] > 0);
    EXPECT(GK_ERR_STALE, gk_peer_user_data(server, peer, &user_data));
    gk_server_free(server);
}

static int writables;

static void on_writable(void *user_data, gk_server *server, gk_peer peer) {
    (void)user_data;
    OK(gk_server_send(server, peer, (const uint8_t *)"again", 5, NULL));
    add(&writables, 1);
}

static void full_queue(void) {
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    gk_send_options options;
    int refused = 0, i;
    OK(gk_context_set_max_queued_messages(context, 2));
    OK(gk_context_on_writable(context, on_writable, NULL));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    await("a peer", &log.messages, 1, NULL);
    OK(gk_send_options_init(&options, sizeof options));
    options.retry = GK_RETRY_ON_TIMEOUT;
    for (i = 0; i < 1000 && refused == 0; i++) {
        gk_result result = gk_server_send(server, log.peer, (const uint8_t *)"some", 4, &options);
        if (result != GK_OK) {
            EXPECT(GK_ERR_WOULD_BLOCK, result);
            refused = 1;
        }
    }
    CHECK(refused);
    await("room in the queue", &writables, 1, NULL);
    gk_server_free(server);
    check_end(&log);
}

static void blocked(void) {
    static const char *const loopback[] = {"127.0.0.0/8"};
    struct log log;
    gk_context *context = context_for(&log);
    gk_server *server = NULL;
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    await("a peer", &log.messages, 1, NULL);
    OK(gk_server_set_block_list(server, loopback, 1));
    await("the disconnect", &log.disconnects, 1, NULL);
    CHECK(log.code == GK_DISCONNECT_BLOCKED);
    gk_server_free(server);
    check_end(&log);
}

static gk_server *at_exit_server;
static int at_exit_shutdowns;

static void on_shutdown_at_exit(void *user_data, gk_server *server) {
    struct timespec pause = {0, 300 * 1000 * 1000};
    (void)user_data, (void)server;
    /* Whoever does not wait for this is seen not to. */
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&test_lock);
    at_exit_shutdowns++;
    pthread_mutex_unlock(&test_lock);
}

/* The thread's locals are gone when exit handlers run; so it is with static objects of C++. */
static void free_at_exit(void) {
    int shutdowns;
    gk_server_free(at_exit_server);
    pthread_mutex_lock(&test_lock);
    shutdowns = at_exit_shutdowns;
    pthread_mutex_unlock(&test_lock);
    if (shutdowns != 1) {
        fputs("a server freed at exit did not stop\n", stderr);
        _exit(1);
    }
}

static void freed_at_exit(void) {
    gk_context *context = NULL;
    context = patient_context();
    OK(gk_context_on_shutdown(context, on_shutdown_at_exit, NULL));
    OK(gk_server_start(context, "127.0.0.1:0", &at_exit_server));
    gk_context_free(context);
    EXPECT(GK_ERR_TIMEOUT, gk_server_wait(at_exit_server, 0));
    CHECK(atexit(free_at_exit) == 0);
}

int main(void) {
    own_thread();
    polled();
    never_polled();
    stopped_from_another_thread();
    stopped_from_a_callback();
    freed_in_a_callback();
    nested_servers();
    busy();
    many();
    completions();
    delivery_before_goodbye();
    pulled();
    full_queue();
    blocked();
    freed_at_exit();
    puts("ok");
    return 0;
}
