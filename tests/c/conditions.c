/* A server on bad networks: what is guaranteed arrives all the same, and a peer that is cut off is dropped. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#define MESSAGES 30

/* As an older header would have it. */
struct old_conditions {
    uint32_t struct_size;
    float loss;
};

static int echoes[MESSAGES], hellos, dropped;
static gk_peer first;

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    (void)user_data, (void)server;
    if (message->len == 1) {
        CHECK(message->data[0] < MESSAGES);
        add(&echoes[message->data[0]], 1);
        return;
    }
    pthread_mutex_lock(&test_lock);
    first = peer;
    pthread_mutex_unlock(&test_lock);
    add(&hellos, 1);
}

static void on_disconnect(void *user_data, gk_server *server, gk_peer peer, const gk_disconnect_info *info) {
    (void)user_data, (void)server, (void)peer;
    CHECK(info->code == GK_DISCONNECT_TIMEOUT);
    add(&dropped, 1);
}

static gk_conditions bad_network(void) {
    gk_conditions conditions;
    OK(gk_conditions_init(&conditions, sizeof conditions));
    CHECK(conditions.struct_size == sizeof conditions && conditions.loss == 0 && conditions.burst_length == 1);
    conditions.loss = 0.1f;
    conditions.burst_loss = 0.01f;
    conditions.burst_length = 3;
    conditions.delay_us = 20000;
    conditions.jitter_us = 10000;
    conditions.duplicate = 0.1f;
    conditions.reorder = 0.1f;
    conditions.reorder_delay_us = 30000;
    conditions.rate_bytes_per_s = 1000000;
    conditions.corrupt = 0.05f;
    conditions.seed = 7;
    return conditions;
}

static void wrong_values(gk_server *server) {
    gk_conditions conditions = bad_network();
    struct old_conditions old;
#define WRONG(field, value)                                                                                    \
    conditions = bad_network();                                                                                \
    conditions.field = (value);                                                                                \
    EXPECT(GK_ERR_ARGUMENT, gk_server_simulate(server, GK_DIRECTION_SEND, &conditions));                       \
    EXPECT(GK_ERR_ARGUMENT, gk_server_simulate_peer(server, first, GK_DIRECTION_RECEIVE, &conditions))
    WRONG(loss, 1.5f);
    WRONG(burst_loss, -1);
    WRONG(burst_length, 0);
    WRONG(delay_us, 60000001);
    WRONG(jitter_us, UINT64_MAX);
    WRONG(duplicate, strtof("nan", NULL));
    WRONG(reorder, 2);
    WRONG(reorder_delay_us, 60000001);
    WRONG(queue_bytes, UINT64_MAX);
    WRONG(corrupt, 1.01f);
    WRONG(reserved, 1);
    WRONG(struct_size, 0);
    WRONG(struct_size, 10);
    EXPECT_TEXT(GK_ERR_ARGUMENT, "direction", gk_server_simulate(server, 0, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "direction", gk_server_simulate_peer(server, first, 3, NULL));
    EXPECT(GK_ERR_STALE, gk_server_simulate_peer(server, GK_PEER_NONE, GK_DIRECTION_SEND, NULL));
    EXPECT(GK_ERR_STALE, gk_server_simulate_peer(server, first + 1, GK_DIRECTION_SEND, NULL));

    OK(gk_conditions_init((gk_conditions *)(void *)&old, sizeof old));
    CHECK(old.struct_size == sizeof old && old.loss == 0);
    OK(gk_server_simulate(server, GK_DIRECTION_SEND, (gk_conditions *)(void *)&old));
    OK(gk_server_simulate(server, GK_DIRECTION_SEND, NULL));
    OK(gk_server_simulate(server, GK_DIRECTION_SEND, NULL));
}

int main(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_conditions conditions = bad_network(), cut;
    gk_server_stats_t stats;
    gk_peer_stats_t of_peer;
    uint8_t i;
    context = patient_context();
    OK(gk_context_on_message(context, on_message, NULL));
    OK(gk_context_on_disconnect(context, on_disconnect, NULL));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    /* From the first datagram on. */
    OK(gk_server_simulate(server, GK_DIRECTION_RECEIVE, &conditions));
    OK(gk_server_simulate(server, GK_DIRECTION_SEND, &conditions));
    ask_for_client(server);
    await("a peer", &hellos, 1, NULL);
    for (i = 0; i < MESSAGES; i++) OK(gk_server_send_guaranteed(server, first, &i, 1, NULL, NULL));
    for (i = 0; i < MESSAGES; i++) await("an echo", &echoes[i], 1, NULL);
    for (i = 0; i < MESSAGES; i++) CHECK(value(&echoes[i]) == 1);
    CHECK(value(&hellos) == 1 && value(&dropped) == 0);
    OK(gk_server_stats_init(&stats, sizeof stats));
    OK(gk_server_stats(server, &stats));
    CHECK(stats.simulated_receive.pushed > 0 && stats.simulated_send.pushed > 0 && stats.migrations == 0);
    CHECK(stats.simulated_send.dropped <= stats.simulated_send.pushed);
    OK(gk_peer_stats_init(&of_peer, sizeof of_peer));
    OK(gk_peer_stats(server, first, &of_peer));
    /* It has no conditions of its own. */
    CHECK(of_peer.simulated_receive.pushed == 0 && of_peer.simulated_send.pushed == 0 && of_peer.migrations == 0);
    wrong_values(server);
    OK(gk_server_stats(server, &stats));
    CHECK(stats.simulated_send.pushed == 0 && stats.simulated_receive.pushed > 0);

    OK(gk_conditions_init(&cut, sizeof cut));
    cut.loss = 1;
    OK(gk_server_simulate_peer(server, first, GK_DIRECTION_RECEIVE, &cut));
    await("the end of a peer that is cut off", &dropped, 1, NULL);
    gk_server_free(server);
    puts("ok");
    return 0;
}
