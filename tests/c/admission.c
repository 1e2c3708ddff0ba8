/* Who comes in, who hears what, and what is told to strangers. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define GROUP "the red room"

struct seen {
    int asked, connects, disconnects, messages, raws, found;
    gk_peer peer;
    char info[64];
    /* What to do in the authorise callback: 0 nothing, 1 accept, 2 refuse. */
    int decision;
};

static void on_authorise(void *user_data, gk_server *server, gk_peer peer, const gk_join_request *request) {
    struct seen *seen = user_data;
    int32_t status = 0;
    uint32_t token = 0;
    CHECK(request->struct_size == sizeof *request && request->reserved == 0);
    CHECK(request->door == GK_DOOR_UDP && request->wire == GK_WIRE_MPGAMESERVER && request->password == 0);
    CHECK(request->data != NULL && request->len == 0 && strncmp(request->address, "127.0.0.1:", 10) == 0);
    OK(gk_peer_status(server, peer, &status));
    OK(gk_peer_token(server, peer, &token));
    CHECK(status == GK_STATUS_JOINING && token == request->token);
    EXPECT(GK_ERR_STATE, gk_server_send(server, peer, NULL, 0, NULL));
    if (seen->decision == 1) {
        OK(gk_peer_accept(server, peer));
        EXPECT(GK_ERR_STATE, gk_peer_accept(server, peer));
        OK(gk_server_group_add(server, GROUP, peer));
    } else if (seen->decision == 2) {
        OK(gk_peer_refuse(server, peer, GK_REFUSED_HOST, "not today"));
        EXPECT(GK_ERR_STALE, gk_peer_accept(server, peer));
    }
    pthread_mutex_lock(&test_lock);
    seen->peer = peer;
    pthread_mutex_unlock(&test_lock);
    add(&seen->asked, 1);
}

static void on_connect(void *user_data, gk_server *server, gk_peer peer, const gk_connect_info *info) {
    struct seen *seen = user_data;
    (void)server;
    /* Every connect was asked about; a peer that waits was announced by nothing else. */
    CHECK(info->token != 0 && peer == seen->peer);
    add(&seen->connects, 1);
}

static void on_disconnect(void *user_data, gk_server *server, gk_peer peer, const gk_disconnect_info *info) {
    struct seen *seen = user_data;
    (void)server, (void)peer;
    CHECK(info->struct_size == sizeof *info && info->code == GK_DISCONNECT_HOST + 5 && info->app_code == 77);
    CHECK(strcmp(info->text, "the game is over") == 0);
    add(&seen->disconnects, 1);
}

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    struct seen *seen = user_data;
    (void)server, (void)peer, (void)message;
    add(&seen->messages, 1);
}

static gk_server *start(struct seen *seen, int decision) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    memset(seen, 0, sizeof *seen);
    seen->decision = decision;
    context = patient_context();
    OK(gk_context_on_authorise(context, on_authorise, seen));
    OK(gk_context_on_connect(context, on_connect, seen));
    OK(gk_context_on_disconnect(context, on_disconnect, seen));
    OK(gk_context_on_message(context, on_message, seen));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    return server;
}

static void decided_later(void) {
    struct seen seen;
    gk_server_stats_t stats;
    gk_disconnect_info info;
    gk_server *server = start(&seen, 0);
    size_t sent = 9, refused = 9, count = 9;
    ask_for_client(server);
    await("a question", &seen.asked, 1, NULL);
    OK(gk_server_stats_init(&stats, sizeof stats));
    OK(gk_server_stats(server, &stats));
    CHECK(stats.joining == 1 && stats.peers == 0 && stats.connects == 0 && stats.refusals == 0);
    OK(gk_server_peers(server, NULL, 0, &count));
    CHECK(count == 0 && value(&seen.connects) == 0 && value(&seen.messages) == 0);
    OK(gk_peer_accept(server, seen.peer));
    /* The client said hello long before it was let in. */
    await("its message", &seen.messages, 1, NULL);
    CHECK(value(&seen.connects) == 1);

    OK(gk_server_group_add(server, GROUP, seen.peer));
    OK(gk_server_group_send(server, GROUP, GK_PEER_NONE, (const uint8_t *)"x", 1, NULL, &sent, &refused));
    CHECK(sent == 1 && refused == 0);
    OK(gk_server_group_send(server, GROUP, seen.peer, NULL, 0, NULL, &sent, NULL));
    CHECK(sent == 0);
    OK(gk_server_group_send(server, "The red room", GK_PEER_NONE, NULL, 0, NULL, &sent, &refused));
    CHECK(sent == 0 && refused == 0);
    OK(gk_server_group_remove(server, GROUP, seen.peer));
    OK(gk_server_group_send(server, GROUP, GK_PEER_NONE, NULL, 0, NULL, &sent, &refused));
    CHECK(sent == 0 && refused == 0);

    OK(gk_disconnect_info_init(&info, sizeof info));
    info.code = GK_DISCONNECT_HOST + 5;
    info.app_code = 77;
    info.text = "the game is over";
    OK(gk_server_disconnect(server, seen.peer, &info));
    await("the end", &seen.disconnects, 1, NULL);
    gk_server_free(server);
}

static void decided_at_once(void) {
    struct seen seen;
    gk_server *server = start(&seen, 1);
    gk_disconnect_info info;
    size_t sent = 9;
    ask_for_client(server);
    await("a message", &seen.messages, 1, NULL);
    CHECK(value(&seen.asked) == 1 && value(&seen.connects) == 1);
    OK(gk_server_group_send(server, GROUP, GK_PEER_NONE, NULL, 0, NULL, &sent, NULL));
    CHECK(sent == 1);
    OK(gk_disconnect_info_init(&info, sizeof info));
    info.code = GK_DISCONNECT_HOST + 5;
    info.app_code = 77;
    info.text = "the game is over";
    OK(gk_server_disconnect(server, seen.peer, &info));
    await("the end", &seen.disconnects, 1, NULL);
    gk_server_free(server);
}

static void refused(void) {
    struct seen seen;
    gk_server *server = start(&seen, 2);
    ask_for_client(server);
    await("a question", &seen.asked, 1, NULL);
    gk_server_free(server);
    CHECK(seen.connects == 0 && seen.disconnects == 0 && seen.messages == 0);
}

/* Without a callback a password is the end of whose wire has none to give. */
static void password(void) {
    struct seen seen;
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_server_stats_t stats;
    int step;
    memset(&seen, 0, sizeof seen);
    context = patient_context();
    OK(gk_context_set_password(context, (const uint8_t *)"swordfish", 9));
    OK(gk_context_on_connect(context, on_connect, &seen));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    OK(gk_server_stats_init(&stats, sizeof stats));
    for (step = 0; step < WAIT_STEPS && stats.refusals == 0; step++) {
        sleep_step();
        OK(gk_server_stats(server, &stats));
    }
    CHECK(stats.refusals == 1 && stats.connects == 0);
    gk_server_free(server);
    CHECK(seen.connects == 0);
}

/* The same decisions by a host that pulls. */
static void pulled(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_event events[16];
    gk_peer asked = GK_PEER_NONE, connected = GK_PEER_NONE;
    int step;
    context = patient_context();
    OK(gk_context_set_authorise(context, 1));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "authorise", gk_server_open(context, "127.0.0.1:0", &server));
    OK(gk_context_set_max_queued_events(context, 1000));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(server);
    for (step = 0; step < WAIT_STEPS && connected == GK_PEER_NONE; step++) {
        size_t count = 0, at;
        OK(gk_server_poll(server, WAIT_STEP_NS / 1000));
        OK(gk_server_next_events(server, events, sizeof events[0], 16, &count));
        for (at = 0; at < count; at++) {
            const gk_event *event = &events[at];
            CHECK(event->struct_size == sizeof *event && event->reserved == 0);
            if (event->type == GK_EVENT_AUTHORISE) {
                CHECK(asked == GK_PEER_NONE && event->data != NULL && event->len == 0 && event->token != 0);
                CHECK(event->wire == GK_WIRE_MPGAMESERVER && event->password == 0 && event->text != NULL);
                asked = event->peer;
                OK(gk_peer_accept(server, asked));
            } else if (event->type == GK_EVENT_CONNECT) {
                connected = event->peer;
            }
        }
    }
    CHECK(asked != GK_PEER_NONE && connected == asked);
    gk_server_free(server);
}

static void on_raw(void *user_data, gk_server *server, const char *from, const uint8_t *data, size_t len) {
    struct seen *seen = user_data;
    CHECK(len == 7 && memcmp(data, "status?", 7) == 0 && strncmp(from, "127.0.0.1:", 10) == 0);
    EXPECT(GK_ERR_TOO_LARGE, gk_server_send_raw(server, from, (const uint8_t *)"too long", 8));
    OK(gk_server_send_raw(server, from, (const uint8_t *)"ready", 5));
    EXPECT(GK_ERR_STATE, gk_server_send_raw(server, from, (const uint8_t *)"ready", 5));
    add(&seen->raws, 1);
}

static void on_found(void *user_data, const gk_found *found) {
    struct seen *seen = user_data;
    CHECK(found->struct_size == sizeof *found && found->reserved == 0 && found->len < sizeof seen->info);
    memcpy(seen->info, found->info, found->len);
    seen->info[found->len] = 0;
    CHECK(strncmp(found->address, "127.0.0.1:", 10) == 0);
    seen->found++;
}

static void strangers(void) {
    struct seen seen;
    gk_context *context = NULL;
    gk_server *server = NULL;
    struct sockaddr_in to;
    struct timeval patience = {60, 0};
    char answer[64], name[32];
    const char *names[1];
    size_t count = 9;
    int question = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&seen, 0, sizeof seen);
    context = patient_context();
    OK(gk_context_on_raw(context, on_raw, &seen));
    OK(gk_context_set_discovery_info(context, (const uint8_t *)"a test", 6));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);

    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t)port_of(server));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(question >= 0 && setsockopt(question, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(sendto(question, "status?", 7, 0, (struct sockaddr *)&to, sizeof to) == 7);
    CHECK(recv(question, answer, sizeof answer, 0) == 5 && memcmp(answer, "ready", 5) == 0);
    close(question);
    CHECK(value(&seen.raws) == 1);

    snprintf(name, sizeof name, "127.0.0.1:%u", port_of(server));
    names[0] = name;
    OK(gk_client_discover(NULL, 0, names, 1, 60000000, on_found, &seen, &count));
    CHECK(count == 1 && seen.found == 1 && strcmp(seen.info, "a test") == 0);
    OK(gk_server_set_discovery_info(server, (const uint8_t *)"other", 5));
    OK(gk_client_discover(NULL, 0, names, 1, 60000000, on_found, &seen, NULL));
    CHECK(seen.found == 2 && strcmp(seen.info, "other") == 0);
    OK(gk_server_set_discovery_info(server, NULL, 0));
    OK(gk_server_stop(server));
    OK(gk_client_discover(NULL, 0, names, 1, 1000, on_found, &seen, &count));
    CHECK(count == 0 && seen.found == 2);
    gk_server_free(server);
}

int main(void) {
    decided_later();
    decided_at_once();
    refused();
    password();
    pulled();
    strangers();
    puts("ok");
    return 0;
}
