/*
 * Callers that were compiled against other structs than the library's: shorter ones, of before, and longer
 * ones, of later. Their bytes lie at the end of a page-like block, so that a sanitizer or valgrind sees every
 * byte that is read or written behind them.
 */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <stddef.h>

/* As an older header would have them. */
struct old_send_options {
    uint32_t struct_size;
    gk_retry_mode retry;
};
struct old_disconnect_info {
    uint32_t struct_size;
    gk_disconnect_code code;
};
struct old_peer_stats {
    uint32_t struct_size, queued_messages;
    uint64_t queued_bytes;
};
struct old_server_stats {
    uint32_t struct_size, peers, handshakes, reserved;
    uint64_t connects;
};
struct old_event {
    uint32_t struct_size;
    gk_event_type type;
    gk_peer peer;
    const uint8_t *data;
    size_t len;
};
/* As a later header would have them. */
struct new_send_options {
    gk_send_options known;
    uint32_t priority, channel;
};
struct new_server_stats {
    gk_server_stats_t known;
    uint64_t more[3];
};
struct new_event {
    gk_event known;
    uint64_t more;
};

static int messages, sent;
static gk_peer first;

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    (void)user_data, (void)server, (void)message;
    pthread_mutex_lock(&test_lock);
    first = peer;
    pthread_mutex_unlock(&test_lock);
    add(&messages, 1);
}

static void on_sent(void *user_data, gk_server *server, gk_peer peer, gk_outcome outcome) {
    (void)user_data, (void)server, (void)peer, (void)outcome;
    add(&sent, 1);
}

static void *block(size_t size) {
    void *memory = malloc(size);
    CHECK(memory != NULL);
    memset(memory, 0xEE, size);
    return memory;
}

static void short_arguments(gk_server *server) {
    struct old_send_options *options = block(sizeof *options);
    struct old_disconnect_info *info = block(sizeof *info);
    uint8_t data[] = {1};
    uint32_t wrong[] = {0, 1, 4, 7, 9, 12, 20, sizeof(gk_send_options) - 1, 4097, UINT32_MAX};
    size_t i;

    OK(gk_send_options_init((gk_send_options *)options, sizeof *options));
    CHECK(options->struct_size == sizeof *options && options->retry == GK_RETRY_NONE);
    options->retry = GK_RETRY_ON_TIMEOUT;
    /* It reads no on_sent where there is none. */
    OK(gk_server_send(server, first, data, 1, (gk_send_options *)options));
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options->struct_size = wrong[i];
        EXPECT_TEXT(GK_ERR_ARGUMENT, "struct_size", gk_server_send(server, first, data, 1, (gk_send_options *)options));
        EXPECT(GK_ERR_ARGUMENT, gk_send_options_init((gk_send_options *)options, wrong[i]));
    }
    free(options);

    OK(gk_disconnect_info_init((gk_disconnect_info *)info, sizeof *info));
    CHECK(info->struct_size == sizeof *info && info->code == GK_DISCONNECT_KICKED);
    info->struct_size = 4;
    EXPECT(GK_ERR_ARGUMENT, gk_server_disconnect(server, first, (gk_disconnect_info *)info));
    info->struct_size = 0;
    EXPECT(GK_ERR_ARGUMENT, gk_server_disconnect(server, first, (gk_disconnect_info *)info));
    info->struct_size = sizeof *info;
    info->code = 7;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "code", gk_server_disconnect(server, first, (gk_disconnect_info *)info));
    free(info);
}

static void short_results(gk_server *server) {
    struct old_peer_stats *peer = block(sizeof *peer);
    struct old_server_stats *all = block(sizeof *all);
    OK(gk_peer_stats_init((gk_peer_stats_t *)peer, sizeof *peer));
    CHECK(peer->struct_size == sizeof *peer && peer->queued_bytes == 0);
    peer->queued_bytes = 77777;
    OK(gk_peer_stats(server, first, (gk_peer_stats_t *)peer));
    CHECK(peer->struct_size == sizeof *peer && peer->queued_bytes < 77777);
    peer->struct_size = 0;
    EXPECT(GK_ERR_ARGUMENT, gk_peer_stats(server, first, (gk_peer_stats_t *)peer));
    free(peer);

    OK(gk_server_stats_init((gk_server_stats_t *)all, sizeof *all));
    OK(gk_server_stats(server, (gk_server_stats_t *)all));
    CHECK(all->struct_size == sizeof *all && all->peers == 1 && all->connects == 1);
    all->struct_size = 6;
    EXPECT(GK_ERR_ARGUMENT, gk_server_stats(server, (gk_server_stats_t *)all));
    free(all);
}

static void long_structs(gk_server *server) {
    struct new_send_options *options = block(sizeof *options);
    struct new_server_stats *stats = block(sizeof *stats);
    uint8_t data[] = {1};
    OK(gk_send_options_init(&options->known, sizeof *options));
    CHECK(options->known.struct_size == sizeof *options && options->priority == 0 && options->channel == 0);
    options->known.retry = GK_RETRY_ON_TIMEOUT;
    options->known.on_sent = on_sent;
    OK(gk_server_send(server, first, data, 1, &options->known));
    await("a completion for a newer caller", &sent, 1, NULL);
    /* A field that this library does not have is not passed over in silence. */
    options->channel = 3;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "version", gk_server_send(server, first, data, 1, &options->known));
    free(options);

    OK(gk_server_stats_init(&stats->known, sizeof *stats));
    OK(gk_server_stats(server, &stats->known));
    CHECK(stats->known.struct_size == sizeof *stats && stats->known.peers == 1);
    CHECK(stats->more[0] == 0 && stats->more[1] == 0 && stats->more[2] == 0);
    free(stats);
}

/* Takes all events of a short run with a step of `size` bytes; gives how many there were. */
static int events_with_step(size_t size, size_t filled) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    uint8_t *events = block(8 * size);
    size_t count = 0, i;
    int total = 0, step;
    gk_event_type last = 0;
    context = patient_context();
    OK(gk_context_set_max_queued_events(context, 10000));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    for (step = 0; step < WAIT_STEPS && last != GK_EVENT_SHUTDOWN; step++) {
        OK(gk_server_next_events(server, (gk_event *)(void *)events, size, 8, &count));
        for (i = 0; i < count; i++) {
            struct old_event event;
            memcpy(&event, events + i * size, sizeof event);
            CHECK(event.struct_size == filled && event.type >= 1 && event.type <= 10 && event.len == 0);
            last = event.type;
            if (size > sizeof(gk_event)) {
                struct new_event wide;
                memcpy(&wide, events + i * size, sizeof wide);
                CHECK(wide.more == 0);
            }
        }
        total += (int)count;
        if (total > 20) OK(gk_server_stop(server));
        if (count == 0) sleep_step();
    }
    CHECK(last == GK_EVENT_SHUTDOWN);
    gk_server_free(server);
    free(events);
    return total;
}

int main(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    context = patient_context();
    OK(gk_context_on_message(context, on_message, NULL));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    await("a peer", &messages, 1, NULL);
    short_arguments(server);
    short_results(server);
    long_structs(server);
    gk_server_free(server);

    CHECK(events_with_step(sizeof(struct old_event), sizeof(struct old_event)) > 20);
    CHECK(events_with_step(sizeof(gk_event), sizeof(gk_event)) > 20);
    CHECK(events_with_step(sizeof(struct new_event), sizeof(gk_event)) > 20);
    puts("ok");
    return 0;
}
