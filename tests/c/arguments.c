/* Every function with what must be refused: NULL, lengths, texts, ranges, peers that are none, states. */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#include "test.h"

#include <sys/mman.h>

#define UNREADABLE_BYTES ((size_t)1 << 30)

#define BAD_UTF8 "ab\xff"

/* Doors, routes, requests that are none, and answers. */
static void http_doors(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_request request = 77;
    char text[64];
    uint8_t bytes[64];
    uint32_t word = 77;
    size_t size = 77;

    EXPECT_TEXT(GK_ERR_NULL, "context is NULL", gk_context_listen_http(NULL, "127.0.0.1:0", NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_route(NULL, "GET", "/", NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_route_websocket(NULL, "/", NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_route_files(NULL, "/", "."));
    EXPECT(GK_ERR_NULL, gk_context_clear_http(NULL));
    EXPECT(GK_ERR_NULL, gk_context_set_http_max_body(NULL, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_http_route_door(NULL, 0));
    EXPECT(GK_ERR_NULL, gk_context_set_http_max_connections(NULL, 1, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_http_max_requests(NULL, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_http_max_body_bytes(NULL, 65536));
    EXPECT(GK_ERR_NULL, gk_context_set_http_request_timeout_us(NULL, 100000));
    EXPECT(GK_ERR_NULL, gk_context_set_http_head_timeout_us(NULL, 100000));
    EXPECT(GK_ERR_NULL, gk_context_set_http_password_in_clear(NULL, 1));

    OK(gk_context_new(&context));
    EXPECT_TEXT(GK_ERR_NULL, "address is NULL", gk_context_listen_http(context, NULL, NULL, NULL));
    EXPECT(GK_ERR_UTF8, gk_context_listen_http(context, BAD_UTF8, NULL, NULL));
    EXPECT(GK_ERR_ADDRESS, gk_context_listen_http(context, "nonsense", NULL, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "both or none", gk_context_listen_http(context, "127.0.0.1:0", "cert.pem", NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "method", gk_context_route(context, "PATCH", "/", NULL, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "method is NULL", gk_context_route(context, NULL, "/", NULL, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "pattern is NULL", gk_context_route(context, "GET", NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "slash", gk_context_route(context, "GET", "abc", NULL, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "variable number", gk_context_route_websocket(context, "/:a*/:b*", NULL, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "directory is NULL", gk_context_route_files(context, "/", NULL));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_max_body(context, ((size_t)1 << 30) + 1));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_max_connections(context, 0, 1));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_max_connections(context, 1, 0));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_max_requests(context, 0));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_max_requests(context, 65537));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_max_body_bytes(context, 65535));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_request_timeout_us(context, 99999));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_head_timeout_us(context, UINT64_C(3600001000)));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "0 or 1", gk_context_set_http_password_in_clear(context, 2));
    OK(gk_context_set_http_password_in_clear(context, 0));
    OK(gk_context_set_http_max_body(context, 0));
    OK(gk_context_set_http_max_connections(context, 1000000, 1000000));
    OK(gk_context_set_http_request_timeout_us(context, 100000));

    /* A route without a function needs an event queue. */
    EXPECT_TEXT(GK_ERR_ARGUMENT, "no HTTP door 0", gk_context_set_http_route_door(context, 0));
    OK(gk_context_listen_http(context, "127.0.0.1:0", NULL, NULL));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_http_route_door(context, 1));
    OK(gk_context_set_http_route_door(context, 0));
    OK(gk_context_set_http_route_door(context, GK_HTTP_ALL_DOORS));
    OK(gk_context_route(context, "GET", "/:a?", NULL, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "event queue", gk_server_open(context, "127.0.0.1:0", &server));
    OK(gk_context_clear_http(context));
    OK(gk_context_listen_http(context, "127.0.0.1:0", "nonexistent.pem", "nonexistent.pem"));
    EXPECT(GK_ERR_KEY, gk_server_open(context, "127.0.0.1:0", &server));
    OK(gk_context_clear_http(context));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    EXPECT(GK_ERR_ARGUMENT, gk_server_http_address(server, 0, text, sizeof text, &size));
    EXPECT_TEXT(GK_ERR_STATE, "no HTTP door", gk_request_method(server, 1, text, sizeof text, &size));
    gk_server_free(server);

    OK(gk_context_listen_http(context, "127.0.0.1:0", NULL, NULL));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_http_address(server, 0, text, 1, &size));
    CHECK(size > 1 && size < sizeof text);
    OK(gk_server_http_address(server, 0, text, sizeof text, &size));
    CHECK(strncmp(text, "127.0.0.1:", 10) == 0);
    EXPECT(GK_ERR_NULL, gk_server_http_address(NULL, 0, text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_method(server, GK_REQUEST_NONE, text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_path(server, 1, text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_query_string(server, 1, text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_param(server, 1, "a", text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_query(server, 1, "a", text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_header(server, 1, "a", text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_headers(server, 1, bytes, sizeof bytes, &size));
    EXPECT(GK_ERR_STALE, gk_request_body(server, 1, bytes, sizeof bytes, &size));
    EXPECT(GK_ERR_STALE, gk_request_address(server, 1, text, sizeof text, &size));
    EXPECT(GK_ERR_STALE, gk_request_is_secure(server, 1, &word));
    EXPECT(GK_ERR_NULL, gk_request_is_secure(server, 1, NULL));
    EXPECT(GK_ERR_STALE, gk_response_header(server, 1, "a", "b"));
    EXPECT_TEXT(GK_ERR_NULL, "name is NULL", gk_response_header(server, 1, NULL, "b"));
    EXPECT_TEXT(GK_ERR_NULL, "value is NULL", gk_response_header(server, 1, "a", NULL));
    EXPECT(GK_ERR_STALE, gk_response_clear(server, 1));
    EXPECT(GK_ERR_NULL, gk_response_clear(NULL, 1));
    EXPECT(GK_ERR_STALE, gk_response_send(server, 1, 200, NULL, 0));
    EXPECT_TEXT(GK_ERR_NULL, "body is NULL", gk_response_send(server, 1, 200, NULL, 1));
    EXPECT(GK_ERR_STALE, gk_response_upgrade(server, 1));
    EXPECT(GK_ERR_NULL, gk_peer_request(server, 1, NULL));
    OK(gk_peer_request(server, 1, &request));
    CHECK(request == GK_REQUEST_NONE && word == 77);
    gk_server_free(server);
    gk_context_free(context);
}

static void all_null_objects(void) {
    gk_peer peer = 1, peers[1];
    uint8_t bytes[1] = {0};
    char text[1];
    const char *entries[1] = {"192.0.2.1"};
    size_t size = 77;
    uint64_t number = 77;
    double real = 0;
    uint32_t word = 77;
    uint16_t port = 77;
    const uint16_t no_port = 0;
    int32_t integer = 77;
    void *pointer = &size;
    gk_second second;
    gk_profile_second profile;
    gk_event event;
    gk_peer_stats_t peer_stats;
    gk_wire wire;
    gk_server_stats_t server_stats;
    gk_client *client = NULL;

    gk_context_free(NULL);
    gk_server_free(NULL);
    gk_key_free(NULL);

    EXPECT_TEXT(GK_ERR_NULL, "out is NULL", gk_context_new(NULL));
    EXPECT_TEXT(GK_ERR_NULL, "context is NULL", gk_context_set_root_key(NULL, NULL));
#define SETTER(name) EXPECT_TEXT(GK_ERR_NULL, "context is NULL", gk_context_set_##name(NULL, 1))
    SETTER(tick_rate_hz);
    SETTER(keep_alive_interval_us);
    SETTER(connection_timeout_us);
    SETTER(handshake_timeout_us);
    SETTER(message_timeout_us);
    SETTER(reconcile_interval_us);
    SETTER(send_interval_us);
    SETTER(reassembly_timeout_us);
    SETTER(mtu);
    SETTER(max_peers);
    SETTER(max_handshakes);
    SETTER(hellos_per_source_hz);
    SETTER(hellos_total_hz);
    SETTER(max_message_size);
    SETTER(max_queued_messages);
    SETTER(max_queued_bytes);
    SETTER(max_reassembly_bytes);
    SETTER(max_queued_events);
    SETTER(max_queued_event_bytes);
    SETTER(socket_receive_bytes);
    SETTER(socket_send_bytes);
    SETTER(authorise);
    SETTER(max_joining);
    SETTER(authorise_timeout_us);
    SETTER(peer_send_rate);
    SETTER(server_send_rate);
    SETTER(redundancy);
    SETTER(busy_poll_us);
    EXPECT(GK_ERR_NULL, gk_context_set_io(NULL, GK_IO_BATCHED));
    EXPECT(GK_ERR_NULL, gk_context_set_wires(NULL, 1, 1));
    SETTER(raw_datagrams);
    EXPECT(GK_ERR_NULL, gk_context_set_password(NULL, bytes, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_discovery_info(NULL, bytes, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_dashboard(NULL, "127.0.0.1:0"));
    EXPECT(GK_ERR_NULL, gk_context_set_dashboard_token(NULL, "0123456789abcdef"));
    EXPECT(GK_ERR_NULL, gk_server_dashboard_address(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_context_set_block_list(NULL, entries, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_access_log(NULL, NULL));
#define CALLBACK(name) EXPECT(GK_ERR_NULL, gk_context_on_##name(NULL, NULL, NULL))
    CALLBACK(starting);
    CALLBACK(connect);
    CALLBACK(disconnect);
    CALLBACK(message);
    CALLBACK(update);
    CALLBACK(writable);
    CALLBACK(reconcile);
    CALLBACK(shutdown);
    CALLBACK(log);
    CALLBACK(authorise);
    CALLBACK(raw);
    EXPECT(GK_ERR_NULL, gk_context_set_files(NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_file(NULL, NULL, NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_file(NULL, NULL, NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_file_quota_init(NULL, sizeof(gk_file_quota)));
    EXPECT(GK_ERR_NULL, gk_file_target_init(NULL, sizeof(gk_file_target)));
    EXPECT(GK_ERR_NULL, gk_file_options_init(NULL, sizeof(gk_file_options)));
    EXPECT(GK_ERR_NULL, gk_server_send_file(NULL, peer, "a", NULL, NULL, &number));
    EXPECT(GK_ERR_NULL, gk_server_accept_file(NULL, peer, GK_FILE_NONE, NULL));
    EXPECT(GK_ERR_NULL, gk_server_refuse_file(NULL, peer, GK_FILE_NONE, NULL));
    EXPECT(GK_ERR_NULL, gk_server_cancel_file(NULL, peer, GK_FILE_NONE));
    EXPECT(GK_ERR_NULL, gk_client_send_file(NULL, "a", NULL, NULL, &number));
    EXPECT(GK_ERR_NULL, gk_client_accept_file(NULL, GK_FILE_NONE, NULL));
    EXPECT(GK_ERR_NULL, gk_client_refuse_file(NULL, GK_FILE_NONE, NULL));
    EXPECT(GK_ERR_NULL, gk_client_cancel_file(NULL, GK_FILE_NONE));

    EXPECT(GK_ERR_NULL, gk_server_poll(NULL, 0));
    EXPECT(GK_ERR_NULL, gk_server_wake(NULL));
    EXPECT(GK_ERR_NULL, gk_server_descriptor(NULL, &integer));
    EXPECT(GK_ERR_NULL, gk_server_next_timeout_us(NULL, &number));
    EXPECT(GK_ERR_NULL, gk_server_next_events(NULL, &event, sizeof event, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_stop(NULL));
    EXPECT(GK_ERR_NULL, gk_server_wait(NULL, 0));
    EXPECT(GK_ERR_NULL, gk_server_is_stopped(NULL, &word));
    EXPECT(GK_ERR_NULL, gk_server_address(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_port(NULL, &port));
    EXPECT(GK_ERR_NULL, gk_server_public_key_der(NULL, bytes, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_native_key(NULL, bytes, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_send(NULL, peer, bytes, 1, NULL));
    EXPECT(GK_ERR_NULL, gk_server_send_guaranteed(NULL, peer, bytes, 1, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_server_send_many(NULL, NULL, sizeof(gk_send_item), 0, &size));
    EXPECT(GK_ERR_NULL, gk_server_broadcast(NULL, GK_PEER_NONE, bytes, 1, NULL, &size));
    EXPECT(GK_ERR_NULL, gk_server_disconnect(NULL, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_server_set_block_list(NULL, entries, 1));
    EXPECT(GK_ERR_NULL, gk_server_simulate(NULL, GK_DIRECTION_SEND, NULL));
    EXPECT(GK_ERR_NULL, gk_server_simulate_peer(NULL, peer, GK_DIRECTION_SEND, NULL));
    EXPECT(GK_ERR_NULL, gk_server_set_discovery_info(NULL, bytes, 1));
    EXPECT(GK_ERR_NULL, gk_server_group_send(NULL, "a", peer, bytes, 1, NULL, &size, &size));
    EXPECT(GK_ERR_NULL, gk_server_send_raw(NULL, "192.0.2.1:1", bytes, 1));
    EXPECT(GK_ERR_NULL, gk_peer_accept(NULL, peer));
    EXPECT(GK_ERR_NULL, gk_peer_refuse(NULL, peer, 0, NULL));
    EXPECT(GK_ERR_NULL, gk_server_group_add(NULL, "a", peer));
    EXPECT(GK_ERR_NULL, gk_server_group_remove(NULL, "a", peer));
    EXPECT(GK_ERR_NULL, gk_peer_set_redundancy(NULL, peer, 1));
    EXPECT(GK_ERR_NULL, gk_client_discover(NULL, 1, NULL, 0, 0, NULL, NULL, &size));
    EXPECT(GK_ERR_NULL, gk_client_discover(NULL, 0, NULL, 1, 0, NULL, NULL, &size));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "at least one", gk_client_discover(NULL, 0, NULL, 0, 0, NULL, NULL, &size));
    EXPECT(GK_ERR_ADDRESS, gk_client_discover(NULL, 0, entries, 1, 0, NULL, NULL, &size));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "port 0", gk_client_discover(&no_port, 1, NULL, 0, 0, NULL, NULL, &size));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "60s", gk_client_discover(&port, 1, NULL, 0, 60000001, NULL, NULL, &size));
    EXPECT(GK_ERR_NULL, gk_server_peers(NULL, peers, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_stats(NULL, &server_stats));
    EXPECT(GK_ERR_NULL, gk_server_series(NULL, &second, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_profile_series(NULL, &profile, 1, &size));
    EXPECT(GK_ERR_NULL, gk_peer_address(NULL, peer, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_peer_token(NULL, peer, &word));
    EXPECT(GK_ERR_NULL, gk_peer_latency_us(NULL, peer, &number));
    EXPECT(GK_ERR_NULL, gk_peer_status(NULL, peer, &integer));
    EXPECT(GK_ERR_NULL, gk_peer_queued_bytes(NULL, peer, &size));
    EXPECT(GK_ERR_NULL, gk_peer_user_data(NULL, peer, &pointer));
    EXPECT(GK_ERR_NULL, gk_peer_set_user_data(NULL, peer, pointer));
    EXPECT(GK_ERR_NULL, gk_peer_stats(NULL, peer, &peer_stats));
    EXPECT(GK_ERR_NULL, gk_peer_wire(NULL, peer, &wire));
    EXPECT(GK_ERR_NULL, gk_peer_door(NULL, peer, &wire));
    EXPECT(GK_ERR_NULL, gk_server_addresses(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_server_stream_address(NULL, 0, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_context_listen_stream(NULL, "127.0.0.1:0", GK_FRAMING_RAW));
    EXPECT(GK_ERR_NULL, gk_context_listen_stream_with(NULL, "127.0.0.1:0", GK_FRAMING_RAW, NULL));
    EXPECT(GK_ERR_NULL, gk_context_connect_stream(NULL, GK_FRAMING_RAW, NULL));
    EXPECT(GK_ERR_NULL, gk_context_listen_stream_files(NULL, "127.0.0.1:0", GK_FRAMING_RAW, NULL));
    EXPECT(GK_ERR_NULL, gk_context_connect_stream_files(NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_stream_options_init(NULL, sizeof(gk_stream_options)));
    EXPECT(GK_ERR_NULL, gk_stream_tls_init(NULL, sizeof(gk_stream_tls)));
    EXPECT(GK_ERR_NULL, gk_context_set_stream_tls(NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_content_init(NULL, sizeof(gk_content)));
    EXPECT(GK_ERR_NULL, gk_peer_set_series(NULL, peer, 1));
    EXPECT(GK_ERR_NULL, gk_peer_series(NULL, peer, &second, 1, &size));

    gk_client_free(NULL);
    EXPECT(GK_ERR_NULL, gk_context_set_wire(NULL, GK_WIRE_NATIVE));
    EXPECT(GK_ERR_NULL, gk_context_pin_native_key(NULL, bytes, 1));
    EXPECT(GK_ERR_NULL, gk_context_pin_root_key(NULL, bytes, 1));
    EXPECT(GK_ERR_NULL, gk_context_trust_any_server(NULL));
    EXPECT(GK_ERR_NULL, gk_context_set_join_data(NULL, bytes, 1));
    EXPECT(GK_ERR_NULL, gk_context_on_client_connecting(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_connect(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_disconnect(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_message(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_update(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_writable(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_shutdown(NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_context_on_client_log(NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "context is NULL", gk_client_start(NULL, "127.0.0.1:1", &client));
    EXPECT_TEXT(GK_ERR_NULL, "context is NULL", gk_client_open(NULL, "127.0.0.1:1", &client));
    EXPECT(GK_ERR_NULL, gk_client_poll(NULL, 0));
    EXPECT(GK_ERR_NULL, gk_client_wake(NULL));
    EXPECT(GK_ERR_NULL, gk_client_descriptor(NULL, &integer));
    EXPECT(GK_ERR_NULL, gk_client_next_timeout_us(NULL, &number));
    EXPECT(GK_ERR_NULL, gk_client_next_events(NULL, &event, sizeof event, 1, &size));
    EXPECT(GK_ERR_NULL, gk_client_stop(NULL));
    EXPECT(GK_ERR_NULL, gk_client_wait(NULL, 0));
    EXPECT(GK_ERR_NULL, gk_client_is_stopped(NULL, &word));
    EXPECT(GK_ERR_NULL, gk_client_send(NULL, bytes, 1, NULL));
    EXPECT(GK_ERR_NULL, gk_client_send_guaranteed(NULL, bytes, 1, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_client_disconnect(NULL));
    EXPECT(GK_ERR_NULL, gk_client_disconnect_wait(NULL, 0));
    EXPECT(GK_ERR_NULL, gk_client_reconnect(NULL));
    EXPECT(GK_ERR_NULL, gk_client_status(NULL, &integer));
    EXPECT(GK_ERR_NULL, gk_client_latency_us(NULL, &number));
    EXPECT(GK_ERR_NULL, gk_client_server_clock_us(NULL, &number));
    EXPECT(GK_ERR_NULL, gk_client_server_tick(NULL, &real));
    EXPECT(GK_ERR_NULL, gk_client_simulate(NULL, GK_DIRECTION_SEND, NULL));
    EXPECT(GK_ERR_NULL, gk_client_queued_bytes(NULL, &size));
    EXPECT(GK_ERR_NULL, gk_client_token(NULL, &word));
    EXPECT(GK_ERR_NULL, gk_client_stats(NULL, &peer_stats));
    EXPECT(GK_ERR_NULL, gk_client_series(NULL, &second, 1, &size));
    EXPECT(GK_ERR_NULL, gk_client_server_address(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_client_local_address(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_client_server_native_key(NULL, bytes, 1, &size));
    EXPECT(GK_ERR_NULL, gk_client_server_root_key_der(NULL, bytes, 1, &size));
    CHECK(client == NULL);

    EXPECT(GK_ERR_NULL, gk_key_save(NULL, "nowhere"));
    EXPECT(GK_ERR_NULL, gk_key_private_pem(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_key_public_pem(NULL, text, 1, &size));
    EXPECT(GK_ERR_NULL, gk_key_private_der(NULL, bytes, 1, &size));
    EXPECT(GK_ERR_NULL, gk_key_public_der(NULL, bytes, 1, &size));
    EXPECT(GK_ERR_NULL, gk_key_native_public(NULL, bytes, 1, &size));
    EXPECT(GK_ERR_NULL, gk_key_sign(NULL, bytes, 1, bytes, 1, &size));

    EXPECT(GK_ERR_NULL, gk_send_options_init(NULL, sizeof(gk_send_options)));
    EXPECT(GK_ERR_NULL, gk_send_item_init(NULL, sizeof(gk_send_item)));
    EXPECT(GK_ERR_NULL, gk_disconnect_info_init(NULL, sizeof(gk_disconnect_info)));
    EXPECT(GK_ERR_NULL, gk_peer_stats_init(NULL, sizeof peer_stats));
    EXPECT(GK_ERR_NULL, gk_server_stats_init(NULL, sizeof server_stats));
    EXPECT(GK_ERR_NULL, gk_conditions_init(NULL, sizeof(gk_conditions)));

    /* Out parameters are written on success only. */
    CHECK(size == 77 && number == 77 && word == 77 && port == 77 && integer == 77 && pointer == &size);
}

/* Doors for streams, and clients that talk in one. */
static void streams(gk_context *context) {
    gk_stream_options options;
    struct {
        uint32_t struct_size, read_bytes;
    } old = {8, 100};
    gk_context *many = NULL;
    uint32_t i;
    OK(gk_stream_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options && options.read_bytes == 4096 && options.max_connections == 0);
    CHECK(options.password_in_clear == 0 && options.stall_timeout_us == 30000000);
    EXPECT(GK_ERR_ARGUMENT, gk_stream_options_init(&options, 4));
    EXPECT(GK_ERR_NULL, gk_context_listen_stream(context, NULL, GK_FRAMING_RAW));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "framing", gk_context_listen_stream(context, "127.0.0.1:0", 4));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "framing", gk_context_listen_stream(context, "127.0.0.1:0", -1));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "framing", gk_context_connect_stream(context, 4, NULL));
    EXPECT(GK_ERR_UTF8, gk_context_listen_stream(context, BAD_UTF8, GK_FRAMING_RAW));
#define WRONG(field, value)                                                                                   \
    OK(gk_stream_options_init(&options, sizeof options));                                                     \
    options.field = (value);                                                                                  \
    EXPECT(GK_ERR_ARGUMENT, gk_context_listen_stream_with(context, "127.0.0.1:0", GK_FRAMING_RAW, &options)); \
    EXPECT(GK_ERR_ARGUMENT, gk_context_connect_stream(context, GK_FRAMING_RAW, &options))
    WRONG(read_bytes, 0);
    WRONG(read_bytes, 1048577);
    WRONG(password_in_clear, 2);
    WRONG(stall_timeout_us, 99999);
    WRONG(stall_timeout_us, 3600000001);
    WRONG(struct_size, 5);
    WRONG(certificate, "certificate.pem");
    WRONG(private_key, "key.pem");
#undef WRONG
    /* What is a door's is nothing for a client. */
#define DOORS(field, value)                                                                              \
    OK(gk_stream_options_init(&options, sizeof options));                                                \
    options.field = (value);                                                                             \
    EXPECT_TEXT(GK_ERR_ARGUMENT, #field, gk_context_connect_stream(context, GK_FRAMING_RAW, &options))
    DOORS(max_connections, 1);
    DOORS(max_connections_per_source, 1);
    DOORS(private_key, (options.certificate = "certificate.pem", "key.pem"));
#undef DOORS
    /* A caller of an older version. */
    OK(gk_context_new(&many));
    OK(gk_context_listen_stream_with(many, "127.0.0.1:0", GK_FRAMING_LINES, (gk_stream_options *)(void *)&old));
    for (i = 1; i < GK_MAX_STREAM_DOORS; i++)
        OK(gk_context_listen_stream(many, "127.0.0.1:0", GK_FRAMING_JSON));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "streams", gk_context_listen_stream(many, "127.0.0.1:0", GK_FRAMING_LENGTH));
    OK(gk_context_connect_stream(many, GK_FRAMING_LENGTH, NULL));
    OK(gk_context_set_wire(many, GK_WIRE_NATIVE));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_wire(many, GK_WIRE_STREAM));
    gk_context_free(many);
}

/* By what a client in a stream believes a server. */
static void stream_tls(void) {
    gk_context *context = NULL;
    gk_client *client = NULL;
    gk_stream_tls tls;
    OK(gk_context_new(&context));
    OK(gk_stream_tls_init(&tls, sizeof tls));
    CHECK(tls.struct_size == sizeof tls && tls.trust_anybody == 0 && tls.authorities == NULL);
    CHECK(tls.certificate == NULL && tls.server_name == NULL);
    EXPECT(GK_ERR_ARGUMENT, gk_stream_tls_init(&tls, 5));
    OK(gk_stream_tls_init(&tls, sizeof tls));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "exactly one", gk_context_set_stream_tls(context, &tls));
    tls.trust_anybody = 2;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "trust_anybody", gk_context_set_stream_tls(context, &tls));
    tls.trust_anybody = 1;
    tls.authorities = "nowhere.pem";
    EXPECT_TEXT(GK_ERR_ARGUMENT, "exactly one", gk_context_set_stream_tls(context, &tls));
    tls.trust_anybody = 0;
    tls.server_name = BAD_UTF8;
    EXPECT(GK_ERR_UTF8, gk_context_set_stream_tls(context, &tls));
    tls.server_name = NULL;
    OK(gk_context_set_stream_tls(context, &tls));
    /* Datagrams have keys of their own. */
    EXPECT_TEXT(GK_ERR_KEY, "pinned", gk_client_open(context, "127.0.0.1:9", &client));
    OK(gk_context_connect_stream(context, GK_FRAMING_RAW, NULL));
    EXPECT_TEXT(GK_ERR_KEY, "nowhere.pem", gk_client_open(context, "127.0.0.1:9", &client));
    tls.authorities = NULL;
    tls.trust_anybody = 1;
    tls.server_name = "not a name";
    OK(gk_context_set_stream_tls(context, &tls));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "not a name", gk_client_open(context, "127.0.0.1:9", &client));
    OK(gk_context_set_stream_tls(context, NULL));
    EXPECT_TEXT(GK_ERR_KEY, "gk_context_trust_any_server", gk_client_open(context, "127.0.0.1:9", &client));
    CHECK(client == NULL);
    gk_context_free(context);
}

/* What messages are, as their headers tell it: answers what comes with a content of its own. */
static void on_told(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    gk_send_options options;
    gk_content content;
    char long_type[257];
    CHECK(message->struct_size == sizeof *message && message->content != NULL);
    CHECK(message->content->struct_size == sizeof(gk_content) && message->content->reserved == 0);
    CHECK(strcmp(message->content->type, "text/json") == 0 && strcmp(message->content->encoding, "utf-8") == 0);
    CHECK(strcmp(message->content->byteorder, "little") == 0);
    OK(gk_send_options_init(&options, sizeof options));
    OK(gk_content_init(&content, sizeof content));
    CHECK(content.type == NULL && content.encoding == NULL && content.byteorder == NULL);
    options.content = &content;
    memset(long_type, 'x', sizeof long_type - 1);
    long_type[sizeof long_type - 1] = 0;
    content.type = long_type;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "content->type", gk_server_send(server, peer, message->data, message->len, &options));
    content.type = BAD_UTF8;
    EXPECT(GK_ERR_UTF8, gk_server_send(server, peer, message->data, message->len, &options));
    content.type = "binary/numbers";
    content.struct_size = 7;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "content", gk_server_send(server, peer, message->data, message->len, &options));
    content.struct_size = sizeof content;
    content.byteorder = "big";
    OK(gk_server_send(server, peer, message->data, message->len, &options));
    /* Without one they are bytes. */
    OK(gk_server_send(server, peer, message->data, message->len, NULL));
    add((int *)user_data, 1);
}

static void contents(void) {
    static const char *const types[] = {"binary/numbers", "application/octet-stream"};
    static const char *const orders[] = {"big", "little"};
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_client *client = NULL;
    gk_send_options options;
    gk_content content;
    gk_event event;
    char text[4096];
    size_t len = 0, count = 0;
    int told = 0, got = 0, step;
    OK(gk_context_new(&context));
    OK(gk_context_listen_stream(context, "127.0.0.1:0", GK_FRAMING_JSON));
    OK(gk_context_on_message(context, on_told, &told));
    OK(gk_context_connect_stream(context, GK_FRAMING_JSON, NULL));
    OK(gk_context_trust_any_server(context));
    OK(gk_context_set_max_queued_events(context, 1000));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    OK(gk_server_addresses(server, text, sizeof text, &len));
    CHECK(strstr(text, "tcp ") != NULL && text[len - 1] == '\n');
    text[len - 1] = 0;
    OK(gk_client_open(context, strstr(text, "tcp ") + 4, &client));
    OK(gk_send_options_init(&options, sizeof options));
    OK(gk_content_init(&content, sizeof content));
    content.type = "text/json";
    options.content = &content;
    for (step = 0; step < WAIT_STEPS && got < 2; step++) {
        OK(gk_client_poll(client, 10000));
        OK(gk_client_next_events(client, &event, sizeof event, 1, &count));
        if (count == 0) continue;
        CHECK(event.type != GK_EVENT_DISCONNECT);
        if (event.type == GK_EVENT_CONNECT) {
            CHECK(event.content == NULL);
            OK(gk_client_send(client, (const uint8_t *)"{}", 2, &options));
        }
        if (event.type == GK_EVENT_MESSAGE) {
            CHECK(event.len == 2 && event.content != NULL && strcmp(event.content->type, types[got]) == 0);
            CHECK(strcmp(event.content->encoding, "binary") == 0);
            CHECK(strcmp(event.content->byteorder, orders[got]) == 0);
            got++;
        }
    }
    CHECK(got == 2 && value(&told) == 1);
    OK(gk_client_stop(client));
    gk_client_free(client);
    OK(gk_server_stop(server));
    gk_server_free(server);
    gk_context_free(context);
}

/* What others can reach a server at. */
static void all_addresses(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    char text[4096];
    size_t len = 0;
    OK(gk_context_new(&context));
    OK(gk_context_listen_stream(context, "127.0.0.1:0", GK_FRAMING_LINES));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_addresses(server, NULL, 0, &len));
    CHECK(len > 20 && len < sizeof text);
    OK(gk_server_addresses(server, text, sizeof text, &len));
    CHECK(strncmp(text, "udp 127.0.0.1:", 14) == 0 && strstr(text, "\ntcp 127.0.0.1:") && text[len - 1] == '\n');
    EXPECT(GK_ERR_NULL, gk_server_addresses(server, text, sizeof text, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "no door 1", gk_server_stream_address(server, 1, text, sizeof text, &len));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_stream_address(server, 0, text, 1, &len));
    EXPECT(GK_ERR_NULL, gk_server_stream_address(server, 0, text, sizeof text, NULL));
    OK(gk_server_stream_address(server, 0, text, sizeof text, &len));
    CHECK(strncmp(text, "127.0.0.1:", 10) == 0 && len == strlen(text));
    OK(gk_server_stop(server));
    gk_server_free(server);
    gk_context_free(context);
}

static void context_ranges(void) {
    static const char *const good[] = {"192.0.2.1", "198.51.100.0/24", "2001:db8::/32"};
    static const char *const bad[] = {"192.0.2.1", "198.51.100.0/33"};
    static const char *const null[] = {"192.0.2.1", NULL};
    static const char *const bytes[] = {BAD_UTF8};
    static const uint8_t long_bytes[1188] = {1};
    const size_t mib = (size_t)1 << 20, gib = (size_t)1 << 30;
    gk_context *context = NULL;
    double nan = strtod("nan", NULL);
    OK(gk_context_new(&context));

#define IN(name, first, last)                    \
    OK(gk_context_set_##name(context, (first))); \
    OK(gk_context_set_##name(context, (last)))
#define OUT(name, field, value) EXPECT_TEXT(GK_ERR_ARGUMENT, field, gk_context_set_##name(context, (value)))

    {
        gk_file_quota quota;
        OK(gk_file_quota_init(&quota, sizeof quota));
        CHECK(quota.files_per_peer == 4 && quota.files_total == 64 && quota.max_file_bytes == 0);
        CHECK(quota.count_per_peer == 65536 && quota.count_total == 0);
        EXPECT_TEXT(GK_ERR_ARGUMENT, "not enabled",
                    gk_context_listen_stream_files(context, "127.0.0.1:0", GK_FRAMING_RAW, NULL));
        OK(gk_context_set_files(context, &quota));
        EXPECT(GK_ERR_NULL, gk_context_listen_stream_files(context, NULL, GK_FRAMING_RAW, NULL));
        EXPECT_TEXT(GK_ERR_ARGUMENT, "raw and length",
                    gk_context_listen_stream_files(context, "127.0.0.1:0", GK_FRAMING_LINES, NULL));
        OK(gk_context_set_files(context, NULL));
        OK(gk_context_set_max_message_size(context, 32780));
        EXPECT_TEXT(GK_ERR_ARGUMENT, "max_message_size", gk_context_set_files(context, &quota));
        OK(gk_context_set_max_message_size(context, 32781));
        OK(gk_context_set_files(context, &quota));
        OUT(max_message_size, "max_message_size", 32780);
        OK(gk_context_set_files(context, NULL));
        quota.struct_size = 3;
        EXPECT_TEXT(GK_ERR_ARGUMENT, "struct_size", gk_context_set_files(context, &quota));
    }
    IN(authorise, 0, 1);
    OUT(authorise, "enabled", 2);
    IN(raw_datagrams, 0, 1);
    OUT(raw_datagrams, "enabled", 2);
    IN(max_joining, 1, 1000000);
    OUT(max_joining, "max_joining", 0);
    OUT(max_joining, "max_joining", 1000001);
    IN(authorise_timeout_us, 100000, 3600000000);
    OUT(authorise_timeout_us, "authorise_timeout", 99999);
    OUT(authorise_timeout_us, "authorise_timeout", 3600000001);
    IN(peer_send_rate, 1000, 1000000000);
    OUT(peer_send_rate, "peer_send_rate", 999);
    OUT(peer_send_rate, "peer_send_rate", 1000000001);
    OK(gk_context_set_peer_send_rate(context, 0));
    IN(server_send_rate, 1000, 1000000000);
    OUT(server_send_rate, "server_send_rate", 1);
    OK(gk_context_set_server_send_rate(context, 0));
    streams(context);
    OK(gk_context_set_password(context, long_bytes, 256));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "password", gk_context_set_password(context, long_bytes, 257));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "password", gk_context_set_password(context, long_bytes, 0));
    EXPECT(GK_ERR_NULL, gk_context_set_password(context, NULL, 1));
    OK(gk_context_set_password(context, NULL, 0));
    OK(gk_context_set_discovery_info(context, long_bytes, 1187));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "discovery_info", gk_context_set_discovery_info(context, long_bytes, 1188));
    EXPECT(GK_ERR_NULL, gk_context_set_discovery_info(context, NULL, 1));
    OK(gk_context_set_discovery_info(context, NULL, 0));
    EXPECT(GK_ERR_ADDRESS, gk_context_set_dashboard(context, "nowhere"));
    EXPECT(GK_ERR_UTF8, gk_context_set_dashboard(context, BAD_UTF8));
    OK(gk_context_set_dashboard(context, "127.0.0.1:0"));
    OK(gk_context_set_dashboard(context, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "token", gk_context_set_dashboard_token(context, "0123456789abcde"));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "token", gk_context_set_dashboard_token(context, "0123456789 abcdef"));
    EXPECT(GK_ERR_UTF8, gk_context_set_dashboard_token(context, BAD_UTF8));
    OK(gk_context_set_dashboard_token(context, "0123456789abcdef"));
    OK(gk_context_set_dashboard_token(context, NULL));

    IN(tick_rate_hz, 1, 10000);
    OUT(tick_rate_hz, "tick_rate_hz", 0.99);
    OUT(tick_rate_hz, "tick_rate_hz", 10000.1);
    OUT(tick_rate_hz, "tick_rate_hz", -1);
    OUT(tick_rate_hz, "tick_rate_hz", nan);
    IN(keep_alive_interval_us, 10000, 60000000);
    OUT(keep_alive_interval_us, "keep_alive_interval", 9999);
    OUT(keep_alive_interval_us, "keep_alive_interval", 60000001);
    IN(connection_timeout_us, 100000, 3600000000);
    OUT(connection_timeout_us, "connection_timeout", 0);
    OUT(connection_timeout_us, "connection_timeout", GK_FOREVER);
    IN(handshake_timeout_us, 100000, 60000000);
    OUT(handshake_timeout_us, "handshake_timeout", 99999);
    OUT(handshake_timeout_us, "handshake_timeout", 60000001);
    IN(message_timeout_us, 50000, 60000000);
    OUT(message_timeout_us, "message_timeout", 49999);
    OUT(message_timeout_us, "message_timeout", 60000001);
    IN(reconcile_interval_us, 10000, 3600000000);
    OUT(reconcile_interval_us, "reconcile_interval", 9999);
    OUT(reconcile_interval_us, "reconcile_interval", 3600000001);
    IN(send_interval_us, 0, 1000000);
    OUT(send_interval_us, "send_interval", 1000001);
    IN(reassembly_timeout_us, 100000, 600000000);
    OUT(reassembly_timeout_us, "reassembly_timeout", 99999);
    OUT(reassembly_timeout_us, "reassembly_timeout", 600000001);
    IN(mtu, 576, 1500);
    OUT(mtu, "mtu", 575);
    OUT(mtu, "mtu", 1501);
    OUT(mtu, "mtu", 65536 + 1500);
    IN(max_peers, 1, 1000000);
    OUT(max_peers, "max_peers", 0);
    OUT(max_peers, "max_peers", 1000001);
    IN(max_handshakes, 1, 65536);
    OUT(max_handshakes, "max_handshakes", 0);
    OUT(max_handshakes, "max_handshakes", 65537);
    IN(hellos_per_source_hz, 1, 1e6);
    OUT(hellos_per_source_hz, "hellos_per_source_hz", 0);
    OUT(hellos_per_source_hz, "hellos_per_source_hz", nan);
    IN(hellos_total_hz, 1, 1e6);
    IN(redundancy, 0, 4);
    EXPECT_TEXT(GK_ERR_ARGUMENT, "GK_IO", gk_context_set_io(context, 0));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "GK_IO", gk_context_set_io(context, 3));
    OK(gk_context_set_io(context, GK_IO_PORTABLE));
    OK(gk_context_set_io(context, GK_IO_BATCHED));
    IN(busy_poll_us, 0, 1000000);
    OUT(busy_poll_us, "busy_poll", 1000001);
    OK(gk_context_set_busy_poll_us(context, 0));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "wires", gk_context_set_wires(context, 0, 0));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "native", gk_context_set_wires(context, 0, 2));
    OK(gk_context_set_wires(context, 0, 1));
    OK(gk_context_set_wires(context, 1, 1));
    OUT(hellos_total_hz, "hellos_total_hz", 1e6 + 1);
    OUT(redundancy, "redundancy", 5);
    OUT(redundancy, "redundancy", 300);
    IN(max_message_size, 1, 8 * mib);
    OUT(max_message_size, "max_message_size", 0);
    OUT(max_message_size, "max_message_size", 8 * mib + 1);
    IN(max_queued_messages, 1, 1000000);
    OUT(max_queued_messages, "max_queued_messages", 0);
    OUT(max_queued_messages, "max_queued_messages", 1000001);
    IN(max_queued_bytes, 1024, gib);
    OUT(max_queued_bytes, "max_queued_bytes", 1023);
    OUT(max_queued_bytes, "max_queued_bytes", gib + 1);
    IN(max_reassembly_bytes, 2048, gib);
    OUT(max_reassembly_bytes, "max_reassembly_bytes", 2047);
    OUT(max_reassembly_bytes, "max_reassembly_bytes", gib + 1);
    IN(max_queued_events, 0, 10000000);
    OUT(max_queued_events, "max_queued_events", 10000001);
    IN(max_queued_event_bytes, 64 << 10, 3 * gib);
    OUT(max_queued_event_bytes, "max_queued_event_bytes", (64 << 10) - 1);
    IN(socket_receive_bytes, 4096, gib);
    OUT(socket_receive_bytes, "socket_receive_bytes", 4095);
    OUT(socket_receive_bytes, "socket_receive_bytes", gib + 1);
    IN(socket_send_bytes, 4096, gib);
    OUT(socket_send_bytes, "socket_send_bytes", 4095);
    OUT(socket_send_bytes, "socket_send_bytes", gib + 1);

    OK(gk_context_set_block_list(context, good, 3));
    OK(gk_context_set_block_list(context, NULL, 0));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "198.51.100.0/33", gk_context_set_block_list(context, bad, 2));
    EXPECT(GK_ERR_NULL, gk_context_set_block_list(context, NULL, 1));
    EXPECT(GK_ERR_NULL, gk_context_set_block_list(context, null, 2));
    EXPECT(GK_ERR_UTF8, gk_context_set_block_list(context, bytes, 1));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_block_list(context, good, SIZE_MAX / 2));
    OK(gk_context_set_access_log(context, "some/path"));
    OK(gk_context_set_access_log(context, NULL));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_access_log(context, ""));
    EXPECT(GK_ERR_UTF8, gk_context_set_access_log(context, BAD_UTF8));
    OK(gk_context_set_root_key(context, NULL));
    gk_context_free(context);
}

static void keys(const char *directory) {
    gk_key *key = NULL, *copy = NULL;
    char pem[512], public_pem[512], path[1024];
    uint8_t der[256], public_der[256], again[256], signature[72];
    const uint8_t data[] = {1, 2, 3};
    size_t pem_len = 0, public_pem_len = 0, der_len = 0, public_len = 0, len = 0, signature_len = 0;

    EXPECT(GK_ERR_NULL, gk_key_generate(NULL));
    OK(gk_key_generate(&key));
    OK(gk_key_private_pem(key, pem, sizeof pem, &pem_len));
    CHECK(strlen(pem) == pem_len && strncmp(pem, "-----BEGIN PRIVATE KEY-----", 27) == 0);
    OK(gk_key_public_pem(key, public_pem, sizeof public_pem, &public_pem_len));
    CHECK(strlen(public_pem) == public_pem_len && strncmp(public_pem, "-----BEGIN PUBLIC KEY-----", 26) == 0);
    OK(gk_key_private_der(key, der, sizeof der, &der_len));
    OK(gk_key_public_der(key, public_der, sizeof public_der, &public_len));
    CHECK(public_len == 91);

    /* The two ways to ask for a length, and the boundary of each. */
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_key_private_pem(key, NULL, 0, &len));
    CHECK(len == pem_len + 1);
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_key_private_pem(key, pem, pem_len, &len));
    CHECK(len == pem_len + 1);
    OK(gk_key_private_pem(key, pem, pem_len + 1, &len));
    CHECK(len == pem_len);
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_key_public_der(key, again, 90, &len));
    CHECK(len == 91);
    OK(gk_key_public_der(key, again, 91, &len));
    EXPECT(GK_ERR_NULL, gk_key_public_der(key, NULL, 91, &len));
    EXPECT(GK_ERR_NULL, gk_key_public_der(key, again, 91, NULL));
    OK(gk_key_native_public(key, again, 32, &len));
    CHECK(len == 32);
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_key_native_public(key, again, 31, &len));

    OK(gk_key_from_pem(pem, &copy));
    OK(gk_key_public_der(copy, again, sizeof again, &len));
    CHECK(len == public_len && memcmp(again, public_der, len) == 0);
    gk_key_free(copy);
    OK(gk_key_from_der(der, der_len, &copy));
    OK(gk_key_public_der(copy, again, sizeof again, &len));
    CHECK(len == public_len && memcmp(again, public_der, len) == 0);
    gk_key_free(copy);
    copy = NULL;

    EXPECT(GK_ERR_NULL, gk_key_from_pem(NULL, &copy));
    EXPECT(GK_ERR_NULL, gk_key_from_pem(pem, NULL));
    EXPECT(GK_ERR_UTF8, gk_key_from_pem(BAD_UTF8, &copy));
    EXPECT(GK_ERR_KEY, gk_key_from_pem("", &copy));
    EXPECT(GK_ERR_KEY, gk_key_from_pem(public_pem, &copy));
    EXPECT(GK_ERR_KEY, gk_key_from_der(NULL, 0, &copy));
    EXPECT(GK_ERR_NULL, gk_key_from_der(NULL, 1, &copy));
    EXPECT(GK_ERR_KEY, gk_key_from_der(der, der_len - 1, &copy));
    EXPECT(GK_ERR_ARGUMENT, gk_key_from_der(der, SIZE_MAX, &copy));
    CHECK(copy == NULL);

    CHECK((size_t)snprintf(path, sizeof path, "%s/arguments-key.pem", directory) < sizeof path);
    OK(gk_key_save(key, path));
    OK(gk_key_load(path, &copy));
    OK(gk_key_public_der(copy, again, sizeof again, &len));
    CHECK(memcmp(again, public_der, public_len) == 0);
    gk_key_free(copy);
    CHECK(remove(path) == 0);
    EXPECT(GK_ERR_IO, gk_key_load(path, &copy));
    EXPECT(GK_ERR_NULL, gk_key_load(NULL, &copy));
    EXPECT(GK_ERR_UTF8, gk_key_load(BAD_UTF8, &copy));
    EXPECT(GK_ERR_NULL, gk_key_load(path, NULL));
    EXPECT(GK_ERR_NULL, gk_key_save(key, NULL));
    EXPECT(GK_ERR_UTF8, gk_key_save(key, BAD_UTF8));
    EXPECT(GK_ERR_IO, gk_key_save(key, "/nonexistent-directory/key.pem"));

    OK(gk_key_sign(key, data, sizeof data, signature, sizeof signature, &signature_len));
    OK(gk_public_key_verify(public_der, public_len, data, sizeof data, signature, signature_len));
    EXPECT(GK_ERR_SIGNATURE,
           gk_public_key_verify(public_der, public_len, data, sizeof data - 1, signature, signature_len));
    EXPECT(GK_ERR_SIGNATURE, gk_public_key_verify(public_der, public_len, data, sizeof data, NULL, 0));
    EXPECT(GK_ERR_KEY, gk_public_key_verify(NULL, 0, data, sizeof data, signature, signature_len));
    EXPECT(GK_ERR_NULL, gk_public_key_verify(NULL, 91, data, sizeof data, signature, signature_len));
    EXPECT(GK_ERR_NULL, gk_public_key_verify(public_der, public_len, NULL, 1, signature, signature_len));
    EXPECT(GK_ERR_NULL, gk_public_key_verify(public_der, public_len, data, sizeof data, NULL, 1));
    OK(gk_key_sign(key, NULL, 0, signature, sizeof signature, &signature_len));
    OK(gk_public_key_verify(public_der, public_len, NULL, 0, signature, signature_len));
    EXPECT(GK_ERR_NULL, gk_key_sign(key, NULL, 1, signature, sizeof signature, &signature_len));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_key_sign(key, data, sizeof data, signature, 8, &len));

    OK(gk_public_key_pem_to_der(public_pem, again, sizeof again, &len));
    CHECK(len == public_len && memcmp(again, public_der, len) == 0);
    OK(gk_public_key_der_to_pem(public_der, public_len, pem, sizeof pem, &len));
    CHECK(len == public_pem_len && strcmp(pem, public_pem) == 0);
    EXPECT(GK_ERR_KEY, gk_public_key_pem_to_der("nonsense", again, sizeof again, &len));
    EXPECT(GK_ERR_NULL, gk_public_key_pem_to_der(NULL, again, sizeof again, &len));
    EXPECT(GK_ERR_UTF8, gk_public_key_pem_to_der(BAD_UTF8, again, sizeof again, &len));
    EXPECT(GK_ERR_KEY, gk_public_key_der_to_pem(public_der, 90, pem, sizeof pem, &len));
    EXPECT(GK_ERR_NULL, gk_public_key_der_to_pem(NULL, 91, pem, sizeof pem, &len));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_public_key_der_to_pem(public_der, 91, pem, 10, &len));
    CHECK(len == public_pem_len + 1);
    gk_key_free(key);
}

static void addresses(void) {
    static const char *const bad[] = {"", "nonsense", "127.0.0.1", "127.0.0.1:65536", "[::1:1", "127.0.0.1:-1",
                                      "999.0.0.1:1", "127.0.0.1:1 "};
    gk_context *context = NULL;
    gk_server *server = NULL, *second = NULL;
    char address[64], small[4] = "xyz";
    size_t len = 0, i;
    OK(gk_context_new(&context));
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        EXPECT(GK_ERR_ADDRESS, gk_server_start(context, bad[i], &server));
        EXPECT(GK_ERR_ADDRESS, gk_server_open(context, bad[i], &server));
    }
    /* TEST-NET-1: no interface of this machine has it. */
    EXPECT(GK_ERR_ADDRESS, gk_server_open(context, "192.0.2.1:0", &server));
    EXPECT(GK_ERR_UTF8, gk_server_start(context, BAD_UTF8, &server));
    EXPECT(GK_ERR_NULL, gk_server_start(context, NULL, &server));
    EXPECT(GK_ERR_NULL, gk_server_start(NULL, "127.0.0.1:0", &server));
    EXPECT(GK_ERR_NULL, gk_server_start(context, "127.0.0.1:0", NULL));
    EXPECT(GK_ERR_NULL, gk_server_open(NULL, "127.0.0.1:0", &server));
    OK(gk_context_set_access_log(context, "/nonexistent-directory/access.log"));
    EXPECT(GK_ERR_IO, gk_server_start(context, "127.0.0.1:0", &server));
    OK(gk_context_set_access_log(context, NULL));
    CHECK(server == NULL);

    OK(gk_server_start(context, "127.0.0.1:0", &server));
    OK(gk_server_address(server, address, sizeof address, &len));
    CHECK(strncmp(address, "127.0.0.1:", 10) == 0 && strlen(address) == len);
    CHECK(strtoul(address + 10, NULL, 10) == port_of(server));
    EXPECT(GK_ERR_ADDRESS_IN_USE, gk_server_start(context, address, &second));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_address(server, small, sizeof small, &len));
    CHECK(len == strlen(address) + 1 && strcmp(small, "xyz") == 0);
    gk_server_free(server);
    gk_context_free(context);
}

/* A server of each kind, before and after its stop, without peers. */
static void states(void) {
    gk_context *context = NULL;
    gk_server *server = NULL;
    gk_event events[2];
    uint8_t der[91];
    uint64_t timeout = 0;
    uint32_t stopped = 7;
    int32_t descriptor = -7;
    size_t count = 7, i;
    gk_second seconds[300];
    gk_profile_second profile[300];
    OK(gk_context_new(&context));

    OK(gk_server_start(context, "127.0.0.1:0", &server));
    EXPECT(GK_ERR_STATE, gk_server_poll(server, 0));
    EXPECT_TEXT(GK_ERR_STATE, "max_queued_events", gk_server_next_events(server, events, sizeof *events, 2, &count));
    EXPECT(GK_ERR_TIMEOUT, gk_server_wait(server, 0));
    EXPECT(GK_ERR_TIMEOUT, gk_server_wait(server, 1000));
    EXPECT(GK_ERR_NULL, gk_server_is_stopped(server, NULL));
    EXPECT(GK_ERR_NULL, gk_server_port(server, NULL));
    EXPECT(GK_ERR_NULL, gk_server_descriptor(server, NULL));
    EXPECT(GK_ERR_NULL, gk_server_next_timeout_us(server, NULL));
    EXPECT(GK_ERR_NULL, gk_server_stats(server, NULL));
    EXPECT(GK_ERR_NULL, gk_server_peers(server, NULL, 0, NULL));
    EXPECT(GK_ERR_NULL, gk_server_set_block_list(server, NULL, 1));
    OK(gk_server_set_block_list(server, NULL, 0));
    OK(gk_server_wake(server));
    OK(gk_server_is_stopped(server, &stopped));
    CHECK(stopped == 0);
    OK(gk_server_peers(server, NULL, 0, &count));
    CHECK(count == 0);
    OK(gk_server_public_key_der(server, der, sizeof der, &count));
    CHECK(count == sizeof der);
    OK(gk_server_native_key(server, der, 32, &count));
    CHECK(count == 32);
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_series(server, seconds, 299, &count));
    CHECK(count == 300);
    OK(gk_server_series(server, seconds, 300, &count));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_profile_series(server, NULL, 0, &count));
    OK(gk_server_profile_series(server, profile, 300, &count));
    CHECK(count == 300);
    OK(gk_server_stop(server));
    OK(gk_server_stop(server));
    OK(gk_server_wait(server, GK_FOREVER));
    OK(gk_server_is_stopped(server, &stopped));
    CHECK(stopped == 1);
    EXPECT(GK_ERR_STATE, gk_server_set_block_list(server, NULL, 0));
    EXPECT(GK_ERR_STATE, gk_server_simulate(server, GK_DIRECTION_SEND, NULL));
    EXPECT(GK_ERR_STATE, gk_server_simulate_peer(server, 1, GK_DIRECTION_SEND, NULL));
    EXPECT(GK_ERR_STATE, gk_server_broadcast(server, GK_PEER_NONE, NULL, 0, NULL, NULL));
    CHECK(port_of(server) != 0);
    gk_server_free(server);

    OK(gk_context_set_max_queued_events(context, 1000));
    OK(gk_server_open(context, "127.0.0.1:0", &server));
    OK(gk_server_descriptor(server, &descriptor));
    CHECK(descriptor >= 0);
    OK(gk_server_next_timeout_us(server, &timeout));
    CHECK(timeout != GK_FOREVER);
    OK(gk_server_poll(server, 0));
    EXPECT(GK_ERR_NULL, gk_server_next_events(server, NULL, sizeof *events, 2, &count));
    EXPECT(GK_ERR_NULL, gk_server_next_events(server, events, sizeof *events, 2, NULL));
    EXPECT(GK_ERR_ARGUMENT, gk_server_next_events(server, events, 0, 2, &count));
    EXPECT(GK_ERR_ARGUMENT, gk_server_next_events(server, events, sizeof *events - 1, 2, &count));
    EXPECT(GK_ERR_ARGUMENT, gk_server_next_events(server, events, SIZE_MAX, 2, &count));
    OK(gk_server_next_events(server, NULL, sizeof *events, 0, &count));
    CHECK(count == 0);
    OK(gk_server_next_events(server, events, sizeof *events, 1, &count));
    CHECK(count == 1 && events[0].type == GK_EVENT_STARTING);
    OK(gk_server_stop(server));
    EXPECT(GK_ERR_STATE, gk_server_poll(server, 0));
    /* What a stopped server has left can still be taken; the last is the shutdown. */
    for (i = 0; i < 1000 && events[0].type != GK_EVENT_SHUTDOWN; i++) {
        OK(gk_server_next_events(server, events, sizeof *events, 1, &count));
        CHECK(count == 1);
    }
    OK(gk_server_next_events(server, events, sizeof *events, 1, &count));
    CHECK(count == 0);
    gk_server_free(server);
    gk_context_free(context);
}

struct seen {
    int connects, disconnects, messages, inside;
    gk_peer peer;
    int32_t code;
    char text[64];
};

static void never_sent(void *user_data, gk_server *server, gk_peer peer, gk_outcome outcome) {
    (void)user_data, (void)server, (void)peer, (void)outcome;
    CHECK(!"called although the send was refused");
}

static void on_connect(void *user_data, gk_server *server, gk_peer peer, const gk_connect_info *info) {
    struct seen *seen = user_data;
    CHECK(info->struct_size == sizeof *info && info->door == GK_DOOR_UDP && info->reserved == 0);
    CHECK(strncmp(info->address, "127.0.0.1:", 10) == 0);
    (void)server;
    pthread_mutex_lock(&test_lock);
    seen->peer = peer;
    pthread_mutex_unlock(&test_lock);
    add(&seen->connects, 1);
}

static void on_disconnect(void *user_data, gk_server *server, gk_peer peer, const gk_disconnect_info *info) {
    struct seen *seen = user_data;
    uint32_t token = 0;
    CHECK(info->struct_size == sizeof *info && info->text != NULL);
    /* Answers until this returns. */
    OK(gk_peer_token(server, peer, &token));
    CHECK(token != 0);
    pthread_mutex_lock(&test_lock);
    seen->code = info->code;
    CHECK((size_t)snprintf(seen->text, sizeof seen->text, "%s", info->text) < sizeof seen->text);
    pthread_mutex_unlock(&test_lock);
    add(&seen->disconnects, 1);
}

static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
    struct seen *seen = user_data;
    gk_event event;
    size_t count = 0;
    (void)peer;
    CHECK(message->struct_size == sizeof *message && message->data != NULL);
    CHECK(message->mode == GK_MODE_UNKNOWN && message->channel == 0 && message->door == GK_DOOR_UDP);
    if (value(&seen->inside) == 0) {
        EXPECT(GK_ERR_REENTRANT, gk_server_poll(server, 0));
        EXPECT(GK_ERR_REENTRANT, gk_server_poll(server, GK_FOREVER));
        EXPECT(GK_ERR_REENTRANT, gk_server_wait(server, GK_FOREVER));
        EXPECT(GK_ERR_REENTRANT, gk_server_next_events(server, &event, sizeof event, 1, &count));
        add(&seen->inside, 1);
    }
    add(&seen->messages, 1);
}

/* Each item of many has an answer of its own; what is wrong with the array is refused as a whole. */
static void many(gk_server *server, gk_peer peer, gk_peer foreign) {
    enum { COUNT = 8 };
    const uint8_t data[2] = {1, 2};
    gk_send_item items[COUNT];
    size_t queued = 77, i;
    for (i = 0; i < COUNT; i++) {
        memset(&items[i], 0xee, sizeof items[i]);
        OK(gk_send_item_init(&items[i], sizeof items[i]));
        CHECK(items[i].struct_size == sizeof items[i] && items[i].retry == GK_RETRY_NONE && items[i].peer == GK_PEER_NONE);
        CHECK(items[i].data == NULL && items[i].len == 0 && items[i].channel == 0 && items[i].notify == 0);
        CHECK(items[i].priority == GK_PRIORITY_NORMAL && items[i].redundancy == 0 && items[i].user_data == NULL);
        CHECK(items[i].deadline_us == 0 && items[i].result == GK_OK && items[i].reserved == 0);
        items[i].result = 99;
        items[i].peer = peer;
        items[i].data = data;
        items[i].len = 2;
    }
    OK(gk_server_send_many(server, NULL, sizeof *items, 0, NULL));
    EXPECT(GK_ERR_NULL, gk_server_send_many(server, NULL, sizeof *items, 1, &queued));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "item_size", gk_server_send_many(server, items, sizeof *items - 1, 1, &queued));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "item_size", gk_server_send_many(server, items, 0, 1, &queued));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "items", gk_server_send_many(server, items, sizeof *items, SIZE_MAX, &queued));
    items[1].struct_size--;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "item 1", gk_server_send_many(server, items, sizeof *items, 2, &queued));
    items[1].struct_size++;
    CHECK(queued == 77 && items[0].result == 99);

    items[1].peer = GK_PEER_NONE;
    items[2].peer = foreign;
    items[3].data = NULL;
    items[4].retry = 4;
    items[5].len = 0;
    items[6].notify = 1;
    OK(gk_server_send_many(server, items, sizeof *items, COUNT - 1, &queued));
    CHECK(items[0].result == GK_OK && items[1].result == GK_ERR_STALE && items[2].result == GK_ERR_STALE);
    CHECK(items[3].result == GK_ERR_NULL && items[4].result == GK_ERR_ARGUMENT && items[5].result == GK_OK);
    /* There is no event queue. */
    CHECK(items[6].result == GK_ERR_STATE && items[7].result == 99 && queued == 2);
    OK(gk_server_send_many(server, items, sizeof *items, 1, NULL));
}

static void peer_arguments(gk_server *server, gk_peer peer, gk_peer foreign) {
    char name[GK_GROUP_MAX_NAME_BYTES + 2];
    const gk_peer none[] = {GK_PEER_NONE, GK_FOREVER, peer + 1, peer ^ ((gk_peer)1 << 40), foreign};
    uint8_t data[16] = {0};
    uint8_t *large = calloc(1, 2001);
    uint8_t *unreadable;
    char text[64];
    uint32_t word = 0;
    uint64_t number = 0;
    int32_t status = 0;
    void *pointer = NULL;
    size_t size = 0, i;
    gk_second seconds[300];
    gk_peer_stats_t stats;
    gk_wire wire = 0;
    gk_send_options options;
    gk_disconnect_info info;
    CHECK(large != NULL);
    OK(gk_peer_stats_init(&stats, sizeof stats));

    for (i = 0; i < sizeof none / sizeof *none; i++) {
        EXPECT(GK_ERR_STALE, gk_server_send(server, none[i], data, 1, NULL));
        EXPECT(GK_ERR_STALE, gk_server_send_guaranteed(server, none[i], data, 1, never_sent, NULL));
        EXPECT(GK_ERR_STALE, gk_server_disconnect(server, none[i], NULL));
        EXPECT(GK_ERR_STALE, gk_peer_address(server, none[i], text, sizeof text, &size));
        EXPECT(GK_ERR_STALE, gk_peer_token(server, none[i], &word));
        EXPECT(GK_ERR_STALE, gk_peer_latency_us(server, none[i], &number));
        EXPECT(GK_ERR_STALE, gk_peer_status(server, none[i], &status));
        EXPECT(GK_ERR_STALE, gk_peer_queued_bytes(server, none[i], &size));
        EXPECT(GK_ERR_STALE, gk_peer_user_data(server, none[i], &pointer));
        EXPECT(GK_ERR_STALE, gk_peer_set_user_data(server, none[i], text));
        EXPECT(GK_ERR_STALE, gk_peer_stats(server, none[i], &stats));
        EXPECT(GK_ERR_STALE, gk_peer_wire(server, none[i], &wire));
        EXPECT(GK_ERR_STALE, gk_peer_door(server, none[i], &wire));
        EXPECT(GK_ERR_STALE, gk_peer_set_series(server, none[i], 1));
        EXPECT(GK_ERR_STALE, gk_peer_series(server, none[i], seconds, 300, &size));
    }

    many(server, peer, foreign);
    EXPECT(GK_ERR_NULL, gk_server_send(server, peer, NULL, 1, NULL));
    EXPECT(GK_ERR_ARGUMENT, gk_server_send(server, peer, data, SIZE_MAX, NULL));
    OK(gk_server_send(server, peer, NULL, 0, NULL));
    EXPECT(GK_ERR_TOO_LARGE, gk_server_send(server, peer, large, 2001, NULL));
    EXPECT(GK_ERR_TOO_LARGE, gk_server_send_guaranteed(server, peer, large, 2001, never_sent, NULL));
    EXPECT(GK_ERR_TOO_LARGE, gk_server_broadcast(server, GK_PEER_NONE, large, 2001, NULL, NULL));
    /* What is too long is refused before it is copied: whoever reads this dies. */
    unreadable = mmap(NULL, UNREADABLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(unreadable != MAP_FAILED);
    EXPECT(GK_ERR_TOO_LARGE, gk_server_send(server, peer, unreadable, UNREADABLE_BYTES, NULL));
    EXPECT(GK_ERR_TOO_LARGE, gk_server_broadcast(server, GK_PEER_NONE, unreadable, UNREADABLE_BYTES, NULL, NULL));
    CHECK(munmap(unreadable, UNREADABLE_BYTES) == 0);
    OK(gk_server_send(server, peer, large, 2000, NULL));
    EXPECT(GK_ERR_NULL, gk_server_send_guaranteed(server, peer, NULL, 1, never_sent, NULL));
    OK(gk_server_send_guaranteed(server, peer, data, 1, NULL, NULL));

    OK(gk_send_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options && options.retry == GK_RETRY_NONE && options.on_sent == NULL);
    CHECK(options.user_data == NULL && options.notify == 0 && options.channel == 0);
    CHECK(options.priority == GK_PRIORITY_NORMAL && options.redundancy == 0 && options.deadline_us == 0);
    options.retry = 4;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "retry", gk_server_send(server, peer, data, 1, &options));
    options.retry = -2;
    EXPECT(GK_ERR_ARGUMENT, gk_server_send(server, peer, data, 1, &options));
    options.retry = GK_MODE_UNKNOWN;
    EXPECT(GK_ERR_ARGUMENT, gk_server_send(server, peer, data, 1, &options));
    options.retry = GK_RETRY_BEST_EFFORT;
    OK(gk_server_send(server, peer, data, 1, &options));
    options.channel = 256;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "channel", gk_server_send(server, peer, data, 1, &options));
    options.channel = 255;
    options.priority = 4;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "priority", gk_server_send(server, peer, data, 1, &options));
    options.priority = GK_PRIORITY_BULK;
    options.redundancy = 5;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "redundancy", gk_server_send(server, peer, data, 1, &options));
    options.redundancy = 4;
    options.deadline_us = 1000000;
    OK(gk_server_send(server, peer, data, 1, &options));
    /* mpgameserver's wire has no such modes. */
    options.retry = GK_RETRY_ORDERED;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "wire", gk_server_send(server, peer, data, 1, &options));
    options.retry = GK_RETRY_SEQUENCED;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "wire", gk_server_send(server, peer, data, 1, &options));
    options.retry = GK_RETRY_BEST_EFFORT;
    options.notify = 2;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "notify", gk_server_send(server, peer, data, 1, &options));
    options.notify = 1;
    EXPECT(GK_ERR_STATE, gk_server_send(server, peer, data, 1, &options));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "broadcast",
                gk_server_broadcast(server, GK_PEER_NONE, data, 1, &options, NULL));
    options.on_sent = never_sent;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "on_sent", gk_server_send(server, peer, data, 1, &options));
    options.notify = 0;
    EXPECT(GK_ERR_ARGUMENT, gk_server_broadcast(server, GK_PEER_NONE, data, 1, &options, NULL));
    EXPECT(GK_ERR_NULL, gk_server_broadcast(server, GK_PEER_NONE, NULL, 1, NULL, NULL));
    OK(gk_server_broadcast(server, GK_PEER_NONE, data, 1, NULL, NULL));
    OK(gk_server_broadcast(server, foreign, data, 1, NULL, &size));
    CHECK(size == 1);
    OK(gk_server_broadcast(server, peer, data, 1, NULL, &size));
    CHECK(size == 0);

    OK(gk_disconnect_info_init(&info, sizeof info));
    CHECK(info.struct_size == sizeof info && info.code == GK_DISCONNECT_KICKED && info.text == NULL);
    CHECK(info.after_delivery == 0 && info.app_code == 0);
    info.code = 0;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "code", gk_server_disconnect(server, peer, &info));
    info.code = GK_DISCONNECT_REMOTE;
    EXPECT(GK_ERR_ARGUMENT, gk_server_disconnect(server, peer, &info));
    info.code = GK_DISCONNECT_SHUTDOWN;
    EXPECT(GK_ERR_ARGUMENT, gk_server_disconnect(server, peer, &info));
    info.code = GK_DISCONNECT_HOST - 1;
    EXPECT(GK_ERR_ARGUMENT, gk_server_disconnect(server, peer, &info));
    info.code = GK_DISCONNECT_HOST;
    info.text = BAD_UTF8;
    EXPECT(GK_ERR_UTF8, gk_server_disconnect(server, peer, &info));
    info.text = "bye";
    info.after_delivery = 2;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "after_delivery", gk_server_disconnect(server, peer, &info));
    info.after_delivery = 0;

    EXPECT(GK_ERR_STATE, gk_peer_accept(server, peer));
    EXPECT(GK_ERR_STATE, gk_peer_refuse(server, peer, GK_REFUSED_HOST, "no"));
    EXPECT(GK_ERR_UTF8, gk_peer_refuse(server, peer, GK_REFUSED_HOST, BAD_UTF8));
    EXPECT(GK_ERR_STALE, gk_peer_accept(server, foreign));
    EXPECT(GK_ERR_STALE, gk_peer_accept(server, GK_PEER_NONE));
    EXPECT(GK_ERR_STALE, gk_peer_refuse(server, foreign, 0, NULL));
    EXPECT(GK_ERR_STALE, gk_server_group_add(server, "a", foreign));
    EXPECT(GK_ERR_STALE, gk_server_group_remove(server, "a", foreign));
    EXPECT(GK_ERR_STALE, gk_peer_set_redundancy(server, foreign, 1));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "redundancy", gk_peer_set_redundancy(server, peer, 5));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "redundancy", gk_peer_set_redundancy(server, peer, 256));
    OK(gk_peer_set_redundancy(server, peer, 4));
    OK(gk_peer_set_redundancy(server, peer, 0));
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    EXPECT_TEXT(GK_ERR_ARGUMENT, "65 bytes", gk_server_group_add(server, name, peer));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "65 bytes", gk_server_group_remove(server, name, peer));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "65 bytes",
                gk_server_group_send(server, name, GK_PEER_NONE, data, 1, NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "empty", gk_server_group_add(server, "", peer));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "empty", gk_server_group_remove(server, "", peer));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "empty", gk_server_group_send(server, "", GK_PEER_NONE, data, 1, NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "group", gk_server_group_add(server, NULL, peer));
    EXPECT_TEXT(GK_ERR_NULL, "group", gk_server_group_remove(server, NULL, peer));
    EXPECT_TEXT(GK_ERR_NULL, "group", gk_server_group_send(server, NULL, GK_PEER_NONE, data, 1, NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_UTF8, "group", gk_server_group_add(server, BAD_UTF8, peer));
    EXPECT_TEXT(GK_ERR_UTF8, "group", gk_server_group_remove(server, BAD_UTF8, peer));
    EXPECT_TEXT(GK_ERR_UTF8, "group",
                gk_server_group_send(server, BAD_UTF8, GK_PEER_NONE, data, 1, NULL, NULL, NULL));
    name[GK_GROUP_MAX_NAME_BYTES] = '\0';
    OK(gk_server_group_add(server, name, peer));
    OK(gk_server_group_remove(server, "a", peer));
    OK(gk_server_group_add(server, "a", peer));
    EXPECT(GK_ERR_STALE, gk_server_group_add(server, "a", GK_PEER_NONE));
    EXPECT(GK_ERR_NULL, gk_server_group_send(server, "a", GK_PEER_NONE, NULL, 1, NULL, NULL, NULL));
    options.on_sent = never_sent;
    EXPECT_TEXT(GK_ERR_ARGUMENT, "on_sent",
                gk_server_group_send(server, "a", GK_PEER_NONE, data, 1, &options, NULL, NULL));
    OK(gk_server_group_send(server, "a", foreign, data, 1, NULL, NULL, NULL));
    EXPECT(GK_ERR_NULL, gk_server_send_file(server, peer, NULL, NULL, NULL, NULL));
    EXPECT(GK_ERR_UTF8, gk_server_send_file(server, peer, BAD_UTF8, NULL, NULL, NULL));
    EXPECT(GK_ERR_STALE, gk_server_send_file(server, GK_PEER_NONE, "a", NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_STATE, "files", gk_server_send_file(server, peer, "a", NULL, NULL, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "target", gk_server_accept_file(server, peer, GK_FILE_NONE, NULL));
    EXPECT(GK_ERR_STALE, gk_server_refuse_file(server, peer, GK_FILE_NONE, NULL));
    EXPECT(GK_ERR_STALE, gk_server_cancel_file(server, peer, UINT64_MAX));
    EXPECT(GK_ERR_NULL, gk_server_send_raw(server, NULL, data, 1));
    EXPECT(GK_ERR_ADDRESS, gk_server_send_raw(server, "192.0.2.1", data, 1));
    EXPECT(GK_ERR_STATE, gk_server_send_raw(server, "192.0.2.1:1", data, 1));
    EXPECT(GK_ERR_ARGUMENT, gk_server_set_discovery_info(server, large, 1188));

    EXPECT(GK_ERR_NULL, gk_peer_token(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_latency_us(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_status(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_queued_bytes(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_wire(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_door(server, peer, NULL));
    OK(gk_peer_door(server, peer, &wire));
    CHECK(wire == GK_DOOR_UDP);
    OK(gk_peer_wire(server, peer, &wire));
    CHECK(wire == GK_WIRE_MPGAMESERVER);
    EXPECT(GK_ERR_NULL, gk_peer_user_data(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_stats(server, peer, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_address(server, peer, text, sizeof text, NULL));
    EXPECT(GK_ERR_NULL, gk_peer_address(server, peer, NULL, 5, &size));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_peer_address(server, peer, NULL, 0, &size));
    OK(gk_peer_address(server, peer, text, size, &size));
    CHECK(strncmp(text, "127.0.0.1:", 10) == 0);
    OK(gk_peer_token(server, peer, &word));
    OK(gk_peer_latency_us(server, peer, &number));
    OK(gk_peer_status(server, peer, &status));
    CHECK(status == GK_STATUS_CONNECTED);
    OK(gk_peer_queued_bytes(server, peer, &size));
    OK(gk_peer_user_data(server, peer, &pointer));
    CHECK(pointer == NULL);
    OK(gk_peer_set_user_data(server, peer, text));
    OK(gk_peer_user_data(server, peer, &pointer));
    CHECK(pointer == text);
    OK(gk_peer_stats(server, peer, &stats));
    CHECK(stats.struct_size == sizeof stats && stats.received > 0 && stats.messages_received > 0);
    EXPECT(GK_ERR_STATE, gk_peer_series(server, peer, seconds, 300, &size));
    EXPECT(GK_ERR_ARGUMENT, gk_peer_set_series(server, peer, 2));
    OK(gk_peer_set_series(server, peer, 1));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_peer_series(server, peer, seconds, 1, &size));
    CHECK(size == 300);
    OK(gk_peer_series(server, peer, seconds, 300, &size));
    OK(gk_peer_set_series(server, peer, 0));
    EXPECT(GK_ERR_STATE, gk_peer_series(server, peer, seconds, 300, &size));
    free(large);
}

static void peers(void) {
    gk_context *context = NULL;
    gk_server *server = NULL, *other = NULL;
    struct seen seen, others;
    gk_peer list[2] = {0, 0};
    uint32_t word = 0;
    size_t count = 0;
    gk_disconnect_info info;
    memset(&seen, 0, sizeof seen);
    memset(&others, 0, sizeof others);
    OK(gk_context_new(&context));
    OK(gk_context_set_max_message_size(context, 2000));
    OK(gk_context_on_connect(context, on_connect, &others));
    OK(gk_context_on_disconnect(context, on_disconnect, &others));
    OK(gk_server_start(context, "127.0.0.1:0", &other));
    OK(gk_context_on_connect(context, on_connect, &seen));
    OK(gk_context_on_disconnect(context, on_disconnect, &seen));
    OK(gk_context_on_message(context, on_message, &seen));
    OK(gk_server_start(context, "127.0.0.1:0", &server));
    gk_context_free(context);
    ask_for_client(other);
    ask_for_client(server);
    await("a peer of the other server", &others.connects, 1, NULL);
    await("a message", &seen.messages, 1, NULL);
    CHECK(value(&seen.inside) == 1);

    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_server_peers(server, NULL, 0, &count));
    CHECK(count == 1);
    OK(gk_server_peers(server, list, 2, &count));
    CHECK(count == 1 && list[0] == seen.peer && list[1] == 0);
    peer_arguments(server, seen.peer, others.peer);

    OK(gk_disconnect_info_init(&info, sizeof info));
    info.code = INT32_MAX;
    info.text = "the host's words";
    OK(gk_server_disconnect(server, seen.peer, &info));
    await("the disconnect", &seen.disconnects, 1, NULL);
    CHECK(seen.code == INT32_MAX && strcmp(seen.text, "the host's words") == 0);
    /* The callback may still be on its way out. */
    while (gk_peer_token(server, seen.peer, &word) == GK_OK) sleep_step();
    EXPECT(GK_ERR_STALE, gk_peer_token(server, seen.peer, &word));
    EXPECT(GK_ERR_STALE, gk_server_disconnect(server, seen.peer, NULL));
    EXPECT(GK_ERR_STALE, gk_server_send(server, seen.peer, NULL, 0, NULL));
    OK(gk_server_stop(server));
    EXPECT(GK_ERR_STATE, gk_server_send(server, seen.peer, NULL, 0, NULL));
    EXPECT(GK_ERR_STATE, gk_server_disconnect(server, seen.peer, NULL));
    EXPECT(GK_ERR_STALE, gk_peer_token(server, seen.peer, &word));
    gk_server_free(server);
    gk_server_free(other);
    CHECK(others.disconnects == 1 && others.code == GK_DISCONNECT_SHUTDOWN);
}

static void texts_and_versions(void) {
    char text[8], expected[32];
    int code;
    for (code = -17; code <= 0; code++) {
        CHECK(strlen(gk_result_str(code)) > 0 && strcmp(gk_result_str(code), "unknown result") != 0);
    }
    CHECK(strcmp(gk_result_str(-18), "unknown result") == 0 && strcmp(gk_result_str(1), "unknown result") == 0);
    CHECK(strcmp(gk_result_str(INT32_MIN), "unknown result") == 0);

    EXPECT(GK_ERR_NULL, gk_context_new(NULL));
    CHECK(gk_last_error(NULL, 0) == 11);
    CHECK(gk_last_error(NULL, 99) == 11);
    CHECK(gk_last_error(text, sizeof text) == 11 && strcmp(text, "out is ") == 0);
    CHECK(gk_last_error(text, 1) == 11 && text[0] == 0);
    text[0] = 'x';
    CHECK(gk_last_error(text, 0) == 11 && text[0] == 'x');

    CHECK(GK_VERSION == ((GK_VERSION_MAJOR << 16) | (GK_VERSION_MINOR << 8) | GK_VERSION_PATCH));
    CHECK(GK_VERSION / 65536 == GK_VERSION_MAJOR && GK_VERSION / 256 % 256 == GK_VERSION_MINOR);
    CHECK(GK_VERSION % 256 == GK_VERSION_PATCH && GK_VERSION != 0);
    CHECK(gk_version() == GK_VERSION);
    snprintf(expected, sizeof expected, "%d.%d.%d", GK_VERSION_MAJOR, GK_VERSION_MINOR, GK_VERSION_PATCH);
    CHECK(strcmp(gk_version_str(), expected) == 0 && strcmp(GK_VERSION_STR, expected) == 0);
#if GK_VERSION < ((0 << 16) | (1 << 8) | 0)
#error "the version can be compared by the preprocessor, and is not older than the first"
#endif
}

/* A client that nobody answers, with every out parameter NULL, and values that are none. */
static void clients(void) {
    uint64_t clock_us = 0;
    double tick = 0;
    gk_context *context;
    gk_client *client;
    uint8_t bytes[800] = {0};
    char text[1];
    size_t size = 77;
    static gk_second seconds[300];

    OK(gk_context_new(&context));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "GK_WIRE", gk_context_set_wire(context, 0));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_wire(context, 3));
    EXPECT(GK_ERR_KEY, gk_context_pin_native_key(context, bytes, 31));
    EXPECT(GK_ERR_NULL, gk_context_pin_native_key(context, NULL, 32));
    EXPECT(GK_ERR_KEY, gk_context_pin_root_key(context, bytes, 91));
    EXPECT(GK_ERR_ARGUMENT, gk_context_set_join_data(context, bytes, 769));
    EXPECT(GK_ERR_NULL, gk_context_set_join_data(context, NULL, 1));
    OK(gk_context_set_join_data(context, bytes, 768));
    OK(gk_context_set_join_data(context, NULL, 0));
    OK(gk_context_set_wire(context, GK_WIRE_MPGAMESERVER));
    OK(gk_context_trust_any_server(context));
    EXPECT_TEXT(GK_ERR_NULL, "address is NULL", gk_client_open(context, NULL, &client));
    EXPECT_TEXT(GK_ERR_NULL, "out is NULL", gk_client_open(context, "127.0.0.1:1", NULL));
    EXPECT_TEXT(GK_ERR_NULL, "out is NULL", gk_client_start(context, "127.0.0.1:1", NULL));
    OK(gk_client_open(context, "127.0.0.1:1", &client));
    gk_context_free(context);
    EXPECT(GK_ERR_STATE, gk_client_next_events(client, NULL, sizeof(gk_event), 0, &size));
    EXPECT(GK_ERR_NULL, gk_client_descriptor(client, NULL));
    EXPECT(GK_ERR_NULL, gk_client_next_timeout_us(client, NULL));
    EXPECT(GK_ERR_NULL, gk_client_next_events(client, NULL, sizeof(gk_event), 0, NULL));
    EXPECT(GK_ERR_NULL, gk_client_is_stopped(client, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "data is NULL", gk_client_send(client, NULL, 1, NULL));
    EXPECT_TEXT(GK_ERR_NULL, "data is NULL", gk_client_send_guaranteed(client, NULL, 1, NULL, NULL));
    EXPECT(GK_ERR_STATE, gk_client_send(client, bytes, 1, NULL));
    EXPECT(GK_ERR_NULL, gk_client_status(client, NULL));
    EXPECT(GK_ERR_NULL, gk_client_latency_us(client, NULL));
    EXPECT(GK_ERR_STATE, gk_client_server_clock_us(client, &clock_us));
    EXPECT(GK_ERR_STATE, gk_client_server_tick(client, &tick));
    EXPECT_TEXT(GK_ERR_ARGUMENT, "direction", gk_client_simulate(client, 3, NULL));
    OK(gk_client_simulate(client, GK_DIRECTION_RECEIVE, NULL));
    EXPECT(GK_ERR_NULL, gk_client_queued_bytes(client, NULL));
    EXPECT(GK_ERR_NULL, gk_client_token(client, NULL));
    EXPECT(GK_ERR_NULL, gk_client_stats(client, NULL));
    EXPECT(GK_ERR_NULL, gk_client_series(client, NULL, 300, &size));
    EXPECT(GK_ERR_NULL, gk_client_series(client, seconds, 300, NULL));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_client_series(client, seconds, 299, &size));
    OK(gk_client_series(client, seconds, 300, &size));
    CHECK(size == 300);
    EXPECT(GK_ERR_NULL, gk_client_server_address(client, text, 1, NULL));
    EXPECT(GK_ERR_NULL, gk_client_local_address(client, NULL, 1, &size));
    EXPECT(GK_ERR_BUFFER_TOO_SMALL, gk_client_local_address(client, text, 1, &size));
    CHECK(size > 1 && size < 64);
    EXPECT(GK_ERR_STATE, gk_client_server_native_key(client, bytes, 32, &size));
    EXPECT(GK_ERR_STATE, gk_client_server_root_key_der(client, bytes, 91, &size));
    gk_client_free(client);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    texts_and_versions();
    all_null_objects();
    context_ranges();
    keys(argv[1]);
    addresses();
    all_addresses();
    stream_tls();
    contents();
    states();
    peers();
    clients();
    http_doors();
    puts("ok");
    return 0;
}
