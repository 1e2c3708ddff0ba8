/*
 * gamekeeper: a game server that you embed, and the client that plays on it.
 *
 * This library hosts encrypted UDP game clients inside your process. You set callbacks, it calls them; you
 * call gk_server_send, it delivers. Sockets, encryption, retries, fragments, time-outs and floods are its
 * business. An echo server, whole:
 *
 *     #include <gamekeeper.h>
 *     #include <stdio.h>
 *
 *     static void on_message(void *user_data, gk_server *server, gk_peer peer, const gk_message *message) {
 *         (void)user_data;
 *         // Errors that matter here: the peer's queue is full, or it has just left.
 *         (void)gk_server_send_guaranteed(server, peer, message->data, message->len, NULL, NULL);
 *     }
 *
 *     int main(void) {
 *         gk_context *context = NULL;
 *         gk_server *server = NULL;
 *         uint16_t port = 0;
 *         gk_result result = gk_context_new(&context);
 *         if (result == GK_OK) result = gk_context_on_message(context, on_message, NULL);
 *         if (result == GK_OK) result = gk_server_start(context, "127.0.0.1:0", &server);
 *         gk_context_free(context);
 *         if (result == GK_OK) result = gk_server_port(server, &port);
 *         if (result != GK_OK) {
 *             char text[256];
 *             gk_last_error(text, sizeof text);
 *             fprintf(stderr, "%s: %s\n", gk_result_str(result), text);
 *             return 1;
 *         }
 *         printf("port %u; Enter ends it\n", (unsigned)port);
 *         fflush(stdout);
 *         getchar();
 *         gk_server_free(server);
 *         return 0;
 *     }
 *
 * THREADS
 *
 * What this chapter says of servers holds for clients too, with gk_client_ for gk_server_.
 *
 * A server runs on one thread: its own after gk_server_start, the caller of gk_server_poll after
 * gk_server_open. Every callback comes from there, one at a time; so callbacks of one server need no locks
 * among themselves. (A polled server that is stopped while nobody polls is finished by whoever stops it.)
 * A callback that takes long delays all peers of its server, but loses none: up to the connection timeout
 * their clients wait.
 *
 * Functions of a server and of its peers can be called from any thread, at any time between start and free.
 * A context is for one thread at a time. A key can be read from many threads. gk_last_error is per thread.
 * Any number of servers live in one process, and share nothing.
 *
 * OWNERSHIP
 *
 * What _new, _start, _open, _generate, _load and _from_… make is yours, and ends with the _free of its kind;
 * every _free takes NULL. A context may be freed as soon as the server has started.
 *
 * What you pass is copied before the call returns: messages, texts, keys, structs. Only user_data pointers
 * are kept as they are; the library never follows them. What you get in a callback is borrowed until the
 * callback returns; copy what you keep. What gk_server_next_events hands out lives until the next such call.
 * What goes into a buffer of yours is a copy. Each function says what holds for it under `Ownership:`.
 *
 * A peer is a number, not a pointer. One that has left is answered with GK_ERR_STALE, for ever: numbers are
 * not used again.
 *
 * ERRORS
 *
 * A call that can fail returns a gk_result: GK_OK, or a negative GK_ERR_…. Out parameters come last and are
 * written on GK_OK only; the length that comes with GK_ERR_BUFFER_TOO_SMALL is the one exception.
 * gk_result_str says what a code means, gk_last_error what was wrong this time.
 *
 * A pointer with a length may be NULL if the length is 0; every other pointer must not be NULL unless its
 * function says so: that is GK_ERR_NULL. Texts are UTF-8 and end with NUL.
 *
 * Nothing is lost silently. A message that is too long, a queue that is full, a peer that is gone are codes;
 * what became of a message that was taken can be asked for (gk_sent_fn). A bug inside the library is caught
 * at its edge, prints nothing, and gives GK_ERR_PANIC: the server then answers nothing else, and can be
 * freed; your process goes on.
 *
 * VERSIONS
 *
 * major (0: minor)  may change everything; the library's file name changes with it.
 * minor             appends: functions, callbacks, constants, result codes, event types, fields at the ends
 *                   of structs that begin with struct_size. Programs that were compiled before run on.
 * patch             repairs. Programs that were compiled for a later patch run with an earlier one.
 *
 * So leave out event types, codes and log levels that you do not know, and treat unknown results as failures.
 *
 * A struct that begins with struct_size may grow. In one that you fill it is the size that your compiler
 * knew: set it with the struct's _init, which takes that size. The library reads no more than that, and
 * takes the defaults for the fields behind it. A longer struct than the library's is taken if all bytes
 * behind the fields that the library knows are 0, and refused otherwise, so that nothing you ask for is
 * ignored. In a struct that the library fills, it fills no more than the size says; in one that it hands
 * out, struct_size says how far it is filled: a field behind that is not there. struct_size 0, or one inside
 * a field, is GK_ERR_ARGUMENT. gk_second and gk_profile_second are parts of arrays and never grow.
 *
 * CALLBACKS
 *
 * Each takes the user_data that it was set with, the server, then what it is about. From inside one you may
 * call everything but gk_server_poll, gk_server_next_events and gk_server_wait of the same server: those
 * answer GK_ERR_REENTRANT. gk_server_stop and gk_server_free work inside a callback: they take effect when it
 * has returned. Stopping another server inside a callback waits for that one: never let two wait for each
 * other.
 *
 * The order is fixed: starting first; connect before everything else about a peer, disconnect after; shutdown
 * last. Nothing is called after shutdown. Each completion (gk_sent_fn) is called exactly once.
 *
 * Callbacks must return: no longjmp out of them, no C++ exception (gamekeeper.hpp catches them for you).
 *
 * Set a callback, or give the context an event queue (gk_context_set_max_queued_events) and pull events
 * with gk_server_next_events, or both: what has no callback goes into the queue, if there is one.
 *
 * HOT RELOAD
 *
 * On Linux the library is linked so that dlclose leaves it in memory: a server that runs goes on running,
 * and that is safe. What is not safe is unloading a module of yours that callbacks or completions of a
 * running server live in: stop or free that server first, then unload. The process may end at any time
 * without freeing anything; peers then find out by time-out.
 */


#ifndef GAMEKEEPER_H
#define GAMEKEEPER_H

#include <stddef.h>
#include <stdint.h>

#define GK_STRINGIFY_VALUE(value) #value
#define GK_STRINGIFY(value) GK_STRINGIFY_VALUE(value)

/**
 * Version of this header as text: "0.1.0".
 */
#define GK_VERSION_STR \
    GK_STRINGIFY(GK_VERSION_MAJOR) "." GK_STRINGIFY(GK_VERSION_MINOR) "." GK_STRINGIFY(GK_VERSION_PATCH)


/**
 * Major version of this header: it changes when callers must change.
 */
#define GK_VERSION_MAJOR 0

/**
 * Minor version of this header: it changes when something was added.
 */
#define GK_VERSION_MINOR 1

/**
 * Patch version of this header: it changes when something was repaired.
 */
#define GK_VERSION_PATCH 0

/**
 * Version of this header as one number that grows: major, minor and patch with 16, 8 and 8 bits.
 */
#define GK_VERSION (((GK_VERSION_MAJOR << 16) | (GK_VERSION_MINOR << 8)) | GK_VERSION_PATCH)

/**
 * The channel of a WebSocket's binary messages.
 */
#define GK_WEBSOCKET_BINARY 0

/**
 * The channel of a WebSocket's text messages, which are UTF-8.
 */
#define GK_WEBSOCKET_TEXT 1

/**
 * For ever, where a time in microseconds is asked for or given.
 */
#define GK_FOREVER 18446744073709551615ull

/**
 * Bytes that the name of a group has at most, without the NUL.
 */
#define GK_GROUP_MAX_NAME_BYTES 64

/**
 * Doors for streams that a context can have.
 */
#define GK_MAX_STREAM_DOORS 16

/**
 * All HTTP doors, for `gk_context_set_http_route_door`.
 */
#define GK_HTTP_ALL_DOORS 4294967295

/**
 * Ports that one search asks at most.
 */
#define GK_DISCOVERY_MAX_PORTS 64

/**
 * Addresses that one search asks at most.
 */
#define GK_DISCOVERY_MAX_ADDRESSES 256

/**
 * One client. It runs beyond the end of a session, until it is stopped, so that it can connect again. Callbacks get
 * the same pointer that starting it gave out. Unless said otherwise its functions can be called from any thread and
 * from inside callbacks.
 *
 * - `gk_client_start`: run it on a thread of its own
 * - `gk_client_open`: let the host run it
 * - `gk_client_poll`: run it until something happened
 * - `gk_client_wake`: make a waiting poll return
 * - `gk_client_descriptor`, `gk_client_next_timeout_us`: wait for it in an event loop of the host's own
 * - `gk_client_next_events`: pull events instead of getting callbacks
 * - `gk_client_stop`, `gk_client_wait`, `gk_client_is_stopped`: end it
 * - `gk_client_free`: end it and give it back
 * - `gk_client_send`, `gk_client_send_guaranteed`: messages to the server
 * - `gk_client_disconnect`, `gk_client_disconnect_wait`: end the session
 * - `gk_client_reconnect`: begin another one
 * - `gk_client_send_file`, `gk_client_accept_file`, `gk_client_refuse_file`, `gk_client_cancel_file`: files
 * - `gk_client_status`, `gk_client_latency_us`, `gk_client_queued_bytes`, `gk_client_token`: how the session stands
 * - `gk_client_stats`, `gk_client_series`: its counts, and the client's last 300 seconds
 * - `gk_client_server_clock_us`, `gk_client_server_tick`: the server's time
 * - `gk_client_simulate`: try it on a bad network
 * - `gk_client_server_address`, `gk_client_local_address`: where it leads from and to
 * - `gk_client_server_native_key`, `gk_client_server_root_key_der`: what the server has proved
 */
typedef struct gk_client gk_client;

/**
 * What a server or a client is made from: values and callbacks. It does nothing itself; a server copies what it needs
 * when it starts, so one context can start any number of servers, and may be changed or freed afterwards.
 * Every value has a default, and is checked when it is set: one out of its range is refused with
 * `GK_ERR_ARGUMENT` and changes nothing.
 *
 * - `gk_context_new`, `gk_context_free`: make it, end it
 * - `gk_context_set_root_key`: the key that proves the server's identity
 * - `gk_context_set_tick_rate_hz`: update events per second
 * - `gk_context_set_keep_alive_interval_us`: when a quiet peer is sent an empty datagram
 * - `gk_context_set_connection_timeout_us`: when a silent peer is dropped
 * - `gk_context_set_handshake_timeout_us`: when an unproven handshake is forgotten
 * - `gk_context_set_message_timeout_us`: when an unacknowledged message is expired
 * - `gk_context_set_reconcile_interval_us`: time between two reconcile events
 * - `gk_context_set_send_interval_us`: least time between two datagrams to one peer that are not full
 * - `gk_context_set_reassembly_timeout_us`: when an unfinished message is given up
 * - `gk_context_set_mtu`: largest IP packet
 * - `gk_context_set_max_peers`, `gk_context_set_max_handshakes`: how many of each
 * - `gk_context_set_hellos_per_source_hz`, `gk_context_set_hellos_total_hz`: budgets of new handshakes
 * - `gk_context_listen_stream`, `gk_context_listen_stream_with`: doors for streams (TCP)
 * - `gk_context_set_wires`, `gk_context_set_redundancy`: the datagram formats; copies ahead of a loss
 * - `gk_context_set_max_message_size`: longest message
 * - `gk_context_set_max_queued_messages`, `gk_context_set_max_queued_bytes`: bounds of a peer's queue
 * - `gk_context_set_max_reassembly_bytes`: bound of a peer's unfinished messages
 * - `gk_context_set_max_queued_events`, `gk_context_set_max_queued_event_bytes`: the event queue
 * - `gk_context_set_socket_receive_bytes`, `gk_context_set_socket_send_bytes`: the kernel's buffers
 * - `gk_context_set_io`, `gk_context_set_busy_poll_us`: system calls per datagram; not sleeping between datagrams
 * - `gk_context_set_block_list`: addresses whose datagrams are dropped unread
 * - `gk_context_set_access_log`: file with one line per connect, refusal and disconnect
 * - `gk_context_set_authorise`, `gk_context_set_max_joining`, `gk_context_set_authorise_timeout_us`: deciding
 *   about each client
 * - `gk_context_set_password`: what a client must know to come in
 * - `gk_context_set_peer_send_rate`, `gk_context_set_server_send_rate`: bytes per second
 * - `gk_context_set_raw_datagrams`: datagrams that are of no wire
 * - `gk_context_set_discovery_info`: what those who look for servers are told
 * - `gk_context_on_starting`, `_connect`, `_disconnect`, `_message`, `_update`, `_writable`, `_reconcile`,
 *   `_shutdown`, `_log`, `_authorise`, `_raw`: the callbacks
 * - `gk_context_listen_http` and the routes: see `gk_request`
 * - `gk_context_set_files`, `gk_context_on_file`, `gk_context_on_client_file`: files, of servers and of clients
 * - `gk_context_listen_stream_files`, `gk_context_connect_stream_files`: the same in streams
 * - `gk_context_set_dashboard`, `gk_context_set_dashboard_token`: what the server does, shown in a browser
 *
 * The same context makes clients, which copy it likewise. They take the intervals, timeouts, bounds, the event queue
 * and the send rate of a peer, which is their server, from above, and have of their own:
 *
 * - `gk_context_set_wire`, `gk_context_connect_stream`, `gk_context_set_stream_tls`: how the client talks
 * - `gk_context_pin_native_key`, `gk_context_pin_root_key`, `gk_context_trust_any_server`: whom it believes; one of
 *   them is needed, but in a stream with TLS
 * - `gk_context_set_join_data`, `gk_context_set_password`: what it tells the server before it is let in
 * - `gk_context_on_client_connecting`, `gk_context_on_client_connect`, `gk_context_on_client_disconnect`: callbacks
 * - `gk_context_on_client_message`, `gk_context_on_client_writable`, `gk_context_on_client_update`: callbacks
 * - `gk_context_on_client_shutdown`, `gk_context_on_client_log`: callbacks
 */
typedef struct gk_context gk_context;

/**
 * A root key pair, ECDSA P-256: its private part proves a server's identity, its public part is what
 * clients pin. It does not change once made.
 *
 * - `gk_key_generate`, `gk_key_from_pem`, `gk_key_from_der`, `gk_key_load`: make it
 * - `gk_key_free`: end it
 * - `gk_key_save`: write the private part to a file
 * - `gk_key_private_pem`, `gk_key_private_der`: the private part, PKCS#8
 * - `gk_key_public_pem`, `gk_key_public_der`, `gk_key_native_public`: the public part, SubjectPublicKeyInfo
 * - `gk_key_sign`: sign bytes
 * - `gk_public_key_verify`: check a signature with the public part
 * - `gk_public_key_pem_to_der`, `gk_public_key_der_to_pem`: convert the public part
 */
typedef struct gk_key gk_key;

/**
 * One running server. Callbacks get the same pointer that starting it gave out. Unless said otherwise its
 * functions can be called from any thread and from inside callbacks.
 *
 * - `gk_server_start`: run it on a thread of its own
 * - `gk_server_open`: let the host run it
 * - `gk_server_poll`: run it until something happened
 * - `gk_server_wake`: make a waiting poll return
 * - `gk_server_descriptor`, `gk_server_next_timeout_us`: wait for it in an event loop of the host's own
 * - `gk_server_next_events`: pull events instead of getting callbacks
 * - `gk_server_stop`, `gk_server_wait`, `gk_server_is_stopped`: end it
 * - `gk_server_free`: end it and give it back
 * - `gk_server_address`, `gk_server_port`: where it listens
 * - `gk_server_addresses`: where others can reach it, at all of its doors
 * - `gk_server_stream_address`: where a door for streams is
 * - `gk_server_public_key_der`, `gk_server_native_key`: what its clients pin
 * - `gk_server_send`, `gk_server_send_guaranteed`, `gk_server_broadcast`, `gk_server_group_send`: messages to peers
 * - `gk_server_send_many`: many of them in one call
 * - `gk_server_group_add`, `gk_server_group_remove`: who is in which group
 * - `gk_server_send_raw`: answer a datagram that is of no wire
 * - `gk_server_disconnect`: end a peer
 * - `gk_server_set_block_list`: replace the block list
 * - `gk_server_simulate`, `gk_server_simulate_peer`: try it on a bad network
 * - `gk_server_dashboard_address`: where the dashboard is in fact
 * - `gk_server_set_discovery_info`: replace what those who look for servers are told
 * - `gk_server_peers`: who is connected
 * - `gk_server_stats`, `gk_server_series`, `gk_server_profile_series`: counts and times
 */
typedef struct gk_server gk_server;

/**
 * What a call came to: `GK_OK`, or one of the negative `GK_ERR_…`. Numbers are never reused, and new
 * ones are appended: treat one that you do not know as a failure.
 *
 * - `gk_result_str`: what a code means, in a few words
 * - `gk_last_error`: what exactly went wrong in this thread's last failed call
 */
typedef int32_t gk_result;

/**
 * What a message is: what the header of `GK_FRAMING_JSON` tells of it, and whether a WebSocket's message is text. With a
 * message that arrived it is what the sender says: the bytes are delivered as they came. `gk_content_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct; with a message that arrived, bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The content type, as `"text/json"`, UTF-8, at most 255 bytes. Never NULL with a message that arrived. Default NULL:
     * `application/octet-stream`.
     */
    const char *type;
    /**
     * The content encoding, as `"utf-8"` or `"binary"`, in the same way. Default NULL: `utf-8` with types that begin with
     * `text/`, else `binary`.
     */
    const char *encoding;
    /**
     * The order of bytes in numbers of the content, as `"little"` or `"big"`, in the same way. Default NULL: `little`.
     */
    const char *byteorder;
} gk_content;

/**
 * What kind of event a `gk_event` is: one of `GK_EVENT_…`. More will be appended: leave out those that
 * you do not know.
 */
typedef int32_t gk_event_type;

/**
 * A remote client of a server: a number that is never reused while the process lives, in any of its
 * servers. A stale one, another server's or an invented one is answered with `GK_ERR_STALE`, and never
 * means another player.
 *
 * All its functions can be called from any thread and from inside callbacks. A peer answers questions
 * until its disconnect callback returns; for a host that pulls events, until the next batch is taken.
 *
 * - `gk_peer_address`: where its datagrams come from
 * - `gk_peer_token`: the public number of its session
 * - `gk_peer_wire`, `gk_peer_door`: which wire it speaks; how it came in
 * - `gk_peer_latency_us`: the smoothed one-way time
 * - `gk_peer_status`: where the connection stands
 * - `gk_peer_queued_bytes`: what is queued for it
 * - `gk_peer_user_data`, `gk_peer_set_user_data`: a pointer of the host's own
 * - `gk_peer_stats`: lifetime counts
 * - `gk_peer_set_series`, `gk_peer_series`: the last 300 seconds, for peers on which the host asks for it
 * - `gk_server_send`, `gk_server_send_guaranteed`, `gk_server_disconnect`, `gk_server_simulate_peer`: what can
 *   be done to it
 * - `gk_server_group_add`, `gk_server_group_remove`: which groups it is in
 * - `gk_server_send_file`, `gk_server_accept_file`, `gk_server_refuse_file`, `gk_server_cancel_file`: files, to it and from it
 * - `gk_peer_accept`, `gk_peer_refuse`: the decision about a client that wants to come in
 * - `gk_peer_set_redundancy`: copies ahead of a loss, of all messages for it
 */
typedef uint64_t gk_peer;

/**
 * How a message is delivered: one of `GK_RETRY_…`. On receiving it can be `GK_MODE_UNKNOWN`.
 */
typedef int32_t gk_retry_mode;

/**
 * How a peer came in: one of `GK_DOOR_…`. More will be appended.
 */
typedef int32_t gk_door;

/**
 * What a peer speaks: one of `GK_WIRE_…`. More will be appended.
 */
typedef int32_t gk_wire;

/**
 * A file under way: a number that is unique among those of one peer, or of one session of a client.
 */
typedef uint64_t gk_file;

/**
 * An event as `gk_server_next_events` and `gk_client_next_events` hand it out. Which fields are set is said at
 * each `GK_EVENT_…`, `peer` with servers only; the others are 0 or NULL. What the pointers point to lives until
 * the next call that succeeds with the same server or client, or until that is freed.
 */
typedef struct {
    /**
     * Bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * What happened.
     */
    gk_event_type type;
    /**
     * To whom, or `GK_PEER_NONE`.
     */
    gk_peer peer;
    /**
     * Message, authorise, raw: the bytes; never NULL then, not even when `len` is 0.
     */
    const uint8_t *data;
    /**
     * The same: how many.
     */
    size_t len;
    /**
     * Message: the sender's number of it, as in `gk_message`.
     */
    uint32_t sequence;
    /**
     * Message: how it was sent, as in `gk_message`.
     */
    gk_retry_mode mode;
    /**
     * Message: its channel, as in `gk_message`.
     */
    uint32_t channel;
    /**
     * Connect, authorise and message: how the peer came in.
     */
    gk_door door;
    /**
     * Disconnect: a `gk_disconnect_code`. Sent: a `gk_outcome`. Log: a `gk_log_level`.
     */
    int32_t code;
    /**
     * Connect and authorise: the public number of its session.
     */
    uint32_t token;
    /**
     * Connect, authorise and raw: the address. Disconnect and log: one sentence. Else NULL.
     */
    const char *text;
    /**
     * Update: seconds since the last one.
     */
    double seconds;
    /**
     * Update: number of the tick, from 1.
     */
    uint64_t tick;
    /**
     * Sent: the `user_data` of the `gk_send_options`.
     */
    void *user_data;
    /**
     * Authorise: what the client speaks.
     */
    gk_wire wire;
    /**
     * Authorise: 1 if it gave the password.
     */
    uint32_t password;
    /**
     * Disconnect: the number that goes with it, as in `gk_disconnect_info`.
     */
    uint32_t app_code;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Request: which.
     */
    uint64_t request;
    /**
     * Files: which one. `text` is an offered file's name (`data` its SHA-256, `file_size` its length), and where it is, or why not,
     * when it ended (`code` is a `gk_file_result`).
     */
    gk_file file;
    /**
     * Files: bytes on the receiver's disk.
     */
    uint64_t file_done;
    /**
     * Files: bytes in all.
     */
    uint64_t file_size;
    /**
     * Message: what it is, as in `gk_message`; NULL where its sender did not tell.
     */
    const gk_content *content;
} gk_event;

/**
 * The server runs.
 *
 * When: first of all callbacks, once. With `gk_server_start` it can come before that call has returned;
 * the server is the one that it will give out.
 * Thread: the server's.
 * Borrowed: the server, until it is freed.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_starting_fn)(void *user_data, gk_server *server);

/**
 * A new peer, as the connect callback gets it.
 */
typedef struct {
    /**
     * Bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * The public number of its session, unique among the server's live peers.
     */
    uint32_t token;
    /**
     * Where its datagrams come from: `"192.0.2.1:50000"` or `"[2001:db8::1]:50000"`. Borrowed until the
     * callback returns.
     */
    const char *address;
    /**
     * How it came in.
     */
    gk_door door;
    /**
     * 0.
     */
    uint32_t reserved;
} gk_connect_info;

/**
 * A client proved itself and is a peer from now on.
 *
 * When: before every other callback about this peer.
 * Thread: the server's.
 * Borrowed: `info` and its text, until the callback returns.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; it may send to
 * the peer or disconnect it.
 */
typedef void (*gk_connect_fn)(void *user_data, gk_server *server, gk_peer peer, const gk_connect_info *info);

/**
 * Why a peer left, or a client's session ended: one of `GK_DISCONNECT_…`, or a number of the host's own from `GK_DISCONNECT_HOST` on.
 */
typedef int32_t gk_disconnect_code;

/**
 * The end of a peer: as the disconnect callback gets it, and as `gk_server_disconnect` takes it.
 */
typedef struct {
    /**
     * To the callback: bytes that the library filled. To `gk_server_disconnect`: sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * Why. To `gk_server_disconnect`: `GK_DISCONNECT_KICKED` (the default) or a code of the host's own,
     * `GK_DISCONNECT_HOST` or more; the others are the library's to give.
     */
    gk_disconnect_code code;
    /**
     * One sentence for a person, UTF-8. To the callback: never NULL, borrowed until it returns. To
     * `gk_server_disconnect`: copied; NULL (the default) is no text.
     */
    const char *text;
    /**
     * To `gk_server_disconnect`: 1 ends the connection once what is queued is acknowledged, at the latest
     * after the connection timeout; 0 (the default) at once, and cancels what is queued. To the callback: 0.
     */
    uint32_t after_delivery;
    /**
     * A number that goes with it, of whoever ended the connection; 0 (the default): none. Where the wire has
     * room for it, the other side gets it. A `code` of the host's own stands here too if this is 0.
     */
    uint32_t app_code;
} gk_disconnect_info;

/**
 * A peer left.
 *
 * When: once for every peer that connected, after all others about it.
 * Thread: the server's.
 * Borrowed: `info` and its text, until the callback returns. The peer answers questions until then (its
 * user data, for instance), and is stale afterwards.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_disconnect_fn)(void *user_data,
                                 gk_server *server,
                                 gk_peer peer,
                                 const gk_disconnect_info *info);

/**
 * A message from a peer, as the message callback gets it.
 */
typedef struct {
    /**
     * Bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * The sender's number of the message: 1 to 65535 on mpgameserver's wire, where it wraps; of a message
     * that came in fragments that of the first one.
     */
    uint32_t sequence;
    /**
     * The bytes, borrowed until the callback returns. Never NULL, not even when `len` is 0.
     */
    const uint8_t *data;
    /**
     * How many.
     */
    size_t len;
    /**
     * How it was sent; `GK_MODE_UNKNOWN` on mpgameserver's wire.
     */
    gk_retry_mode mode;
    /**
     * The channel it was sent on; 0 on mpgameserver's wire.
     */
    uint32_t channel;
    /**
     * How its sender came in.
     */
    gk_door door;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * What it is, where its sender told: in streams of `GK_FRAMING_JSON`, and on WebSockets. Else NULL. Borrowed until the
     * callback returns.
     */
    const gk_content *content;
} gk_message;

/**
 * A message arrived.
 *
 * When: once for each message of a connected peer, in the order in which they arrive, which is not always
 * the order in which they were sent.
 * Thread: the server's.
 * Borrowed: `message` and its bytes, until the callback returns. Copy what you keep.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_message_fn)(void *user_data, gk_server *server, gk_peer peer, const gk_message *message);

/**
 * One tick, as the update callback gets it.
 */
typedef struct {
    /**
     * Bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Seconds since the last update.
     */
    double seconds;
    /**
     * Number of this tick, from 1.
     */
    uint64_t tick;
} gk_update;

/**
 * One tick of the game.
 *
 * When: `gk_context_set_tick_rate_hz` times a second on average. After a callback that took longer than a
 * tick, those that were missed are left out and counted; `seconds` tells the time that really passed.
 * Thread: the server's.
 * Borrowed: `update`, until the callback returns.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_update_fn)(void *user_data, gk_server *server, const gk_update *update);

/**
 * A peer's queue that had refused a message with `GK_ERR_WOULD_BLOCK` has room again.
 *
 * When: once after each time it had refused one or more.
 * Thread: the server's.
 * Borrowed: nothing.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_writable_fn)(void *user_data, gk_server *server, gk_peer peer);

/**
 * A slow timer for housekeeping.
 *
 * When: every `gk_context_set_reconcile_interval_us`.
 * Thread: the server's.
 * Borrowed: nothing.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_reconcile_fn)(void *user_data, gk_server *server);

/**
 * The server has stopped.
 *
 * When: last of all callbacks, once, after the disconnects of all peers. What the callbacks' user data
 * points to is not used any more when it returns.
 * Thread: the server's.
 * Borrowed: nothing.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; sending gives
 * `GK_ERR_STATE` or `GK_ERR_STALE`.
 */
typedef void (*gk_shutdown_fn)(void *user_data, gk_server *server);

/**
 * How loud a line for the log is: one of `GK_LOG_…`; larger is chattier.
 */
typedef int32_t gk_log_level;

/**
 * A line for the log, without a line end.
 *
 * When: any time between starting and shutdown. Lines that strangers cause are limited, and those left
 * out are counted.
 * Thread: the server's.
 * Borrowed: `text`, UTF-8, until the callback returns.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_log_fn)(void *user_data, gk_server *server, gk_log_level level, const char *text);

/**
 * A client that proved itself and wants to come in, as the authorise callback gets it.
 */
typedef struct {
    /**
     * Bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * The public number of its session, unique among the server's live peers.
     */
    uint32_t token;
    /**
     * Where its datagrams come from. Borrowed until the callback returns; so are the others.
     */
    const char *address;
    /**
     * What it brought, a ticket for instance: what the client says, so check it. Never NULL, not even when
     * `len` is 0, which it always is on mpgameserver's wire.
     */
    const uint8_t *data;
    /**
     * How many bytes.
     */
    size_t len;
    /**
     * How it came in.
     */
    gk_door door;
    /**
     * What it speaks.
     */
    gk_wire wire;
    /**
     * 1: it gave the password. 0: none is set, or its wire has none to give.
     */
    uint32_t password;
    /**
     * 0.
     */
    uint32_t reserved;
} gk_join_request;

/**
 * A client proved itself and wants to come in. `gk_peer_accept` lets it in, `gk_peer_refuse` sends it away:
 * from inside this callback, or later from any thread. Without this callback everybody is let in.
 *
 * When: before the connect of each peer. Messages that a client sends before it is let in are left
 * unacknowledged, so that it repeats them; it is refused when `gk_context_set_authorise_timeout_us` has
 * passed. Who is refused, or leaves first, gets no connect and no disconnect: `gk_peer_accept` then answers
 * `GK_ERR_STALE`.
 * Thread: the server's.
 * Borrowed: `request`, its text and its bytes, until the callback returns. The peer answers questions
 * (its user data, for instance) until it is refused or leaves.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; sending to the peer
 * gives `GK_ERR_STATE` until it is let in.
 */
typedef void (*gk_authorise_fn)(void *user_data,
                                gk_server *server,
                                gk_peer peer,
                                const gk_join_request *request);

/**
 * A datagram that is of no wire, or a query of somebody who looks for servers where no discovery info is
 * set. `gk_server_send_raw` answers it.
 *
 * When: for each such datagram within the budget (20 per second and source, 1000 in all); those above it
 * are counted in `drops_raw_budget`.
 * Thread: the server's.
 * Borrowed: `from` and the bytes, until the callback returns. Whoever sent it proved nothing, not even its
 * address.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_raw_fn)(void *user_data,
                          gk_server *server,
                          const char *from,
                          const uint8_t *data,
                          size_t len);

/**
 * How datagrams pass between a server and the system: one of `GK_IO_…`. More will be appended.
 */
typedef int32_t gk_io;

/**
 * What became of a message: one of `GK_SENT_…`.
 */
typedef int32_t gk_outcome;

/**
 * What became of a message.
 *
 * When: exactly once for each message that was accepted with it, at the latest when the peer has left, or the
 * client's session ended. Never from inside the send itself. For a message of a client `server` is NULL and
 * `peer` is `GK_PEER_NONE`.
 * Thread: the server's, or the client's.
 * Borrowed: nothing. The peer can be stale already if the outcome is `GK_SENT_CANCELLED`.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`; of a client everything
 * but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`, `gk_client_disconnect_wait`.
 */
typedef void (*gk_sent_fn)(void *user_data, gk_server *server, gk_peer peer, gk_outcome outcome);

/**
 * Which of a peer's waiting messages goes first: one of `GK_PRIORITY_…`.
 */
typedef int32_t gk_priority;

/**
 * How a message is to be sent. `gk_send_options_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * How it is delivered. Default `GK_RETRY_NONE`.
     */
    gk_retry_mode retry;
    /**
     * Told once what became of the message; of a client's it gets a NULL for the server and `GK_PEER_NONE`.
     * Default NULL.
     */
    gk_sent_fn on_sent;
    /**
     * Passed to `on_sent`, or given back in the event. Default NULL.
     */
    void *user_data;
    /**
     * 1: what became of the message comes as a `GK_EVENT_SENT` with `user_data`; `on_sent` must be NULL, and
     * there must be an event queue. Default 0.
     */
    uint32_t notify;
    /**
     * The channel of sequenced and ordered messages, 0 to 255; each has an order of its own. Default 0.
     */
    uint32_t channel;
    /**
     * Which of the messages that wait goes first. Default `GK_PRIORITY_NORMAL`.
     */
    gk_priority priority;
    /**
     * How many packets beside the first carry a copy of it, if it is short (512 bytes) and of a mode that is
     * resent, before anybody knows of a loss: 0 to 4. Native wire; mpgameserver's passes it over. Default 0;
     * where `gk_context_set_redundancy` has more, that counts.
     */
    uint32_t redundancy;
    /**
     * After so many microseconds it is given up if it is neither guaranteed nor ordered. Default 0: the message
     * timeout.
     */
    uint64_t deadline_us;
    /**
     * What it is. In streams of `GK_FRAMING_JSON` its header tells it, and on a WebSocket types that begin with `text/` make it
     * text; elsewhere nobody is told. Default NULL: bytes; on a WebSocket the channel says.
     */
    const gk_content *content;
} gk_send_options;

/**
 * One of many messages: what `gk_server_send` takes, and in `result` what it would have answered.
 * `gk_send_item_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * How it is delivered. Default `GK_RETRY_NONE`.
     */
    gk_retry_mode retry;
    /**
     * Who gets it. Default `GK_PEER_NONE`, which is refused.
     */
    gk_peer peer;
    /**
     * The bytes; may be NULL with 0. Default NULL.
     */
    const uint8_t *data;
    /**
     * How many. Default 0.
     */
    size_t len;
    /**
     * As in `gk_send_options`. Default 0.
     */
    uint32_t channel;
    /**
     * As in `gk_send_options`. Default `GK_PRIORITY_NORMAL`.
     */
    gk_priority priority;
    /**
     * As in `gk_send_options`. Default 0.
     */
    uint32_t redundancy;
    /**
     * 1: what became of the message comes as a `GK_EVENT_SENT` with `user_data`. Default 0.
     */
    uint32_t notify;
    /**
     * Given back in that event. Default NULL.
     */
    void *user_data;
    /**
     * As in `gk_send_options`. Default 0.
     */
    uint64_t deadline_us;
    /**
     * Filled by the call: `GK_OK`, or why this message was not queued.
     */
    gk_result result;
    /**
     * 0.
     */
    uint32_t reserved;
} gk_send_item;

/**
 * Where a peer's connection stands: one of `GK_STATUS_…`.
 */
typedef int32_t gk_status;

/**
 * Why a client was refused: one of `GK_REFUSED_…`, or a number of the host's own, from `GK_REFUSED_HOST` on
 * by custom.
 */
typedef uint32_t gk_refusal;

/**
 * What a simulated network did to the datagrams of one direction since it was set; zeroes while there is none. Its layout is
 * fixed.
 */
typedef struct {
    /**
     * Datagrams that came to it.
     */
    uint64_t pushed;
    /**
     * Datagrams lost, singly and in bursts.
     */
    uint64_t dropped;
    /**
     * Datagrams and copies that found no room: in the queue before the bottleneck, or in the network at all.
     */
    uint64_t overflowed;
    /**
     * Datagrams that were doubled.
     */
    uint64_t duplicated;
    /**
     * Datagrams and copies held back by `reorder_delay_us`.
     */
    uint64_t reordered;
    /**
     * Datagrams and copies with a bit turned over.
     */
    uint64_t corrupted;
} gk_link_stats;

/**
 * Lifetime counts of one peer, or of a client's session, and what is queued for it now. `gk_peer_stats_init` sets the size.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * Messages queued and not yet acknowledged.
     */
    uint32_t queued_messages;
    /**
     * Bytes of the same.
     */
    uint64_t queued_bytes;
    /**
     * Smoothed one-way time in microseconds; 0 if nothing was measured yet.
     */
    uint64_t latency_us;
    /**
     * Datagrams built.
     */
    uint64_t assembled;
    /**
     * Messages given to the connection for sending; each fragment counts as one.
     */
    uint64_t sent;
    /**
     * Datagrams received and thrown away: duplicates, forgeries, malformed ones.
     */
    uint64_t dropped;
    /**
     * Datagrams received and taken.
     */
    uint64_t received;
    /**
     * Datagrams sent that the remote side acknowledged.
     */
    uint64_t acked;
    /**
     * Datagrams sent that were not acknowledged within the message timeout.
     */
    uint64_t timeouts;
    /**
     * Datagrams sent that are neither acknowledged nor timed out yet.
     */
    uint64_t pending;
    /**
     * Bytes of all datagrams sent.
     */
    uint64_t bytes_sent;
    /**
     * Bytes of all datagrams received and taken.
     */
    uint64_t bytes_received;
    /**
     * Messages sent again.
     */
    uint64_t messages_resent;
    /**
     * Messages handed to the host.
     */
    uint64_t messages_received;
    /**
     * Messages received again and thrown away.
     */
    uint64_t messages_duplicate;
    /**
     * Messages thrown away because they were malformed.
     */
    uint64_t messages_malformed;
    /**
     * Messages refused, unacknowledged, because a bound was reached.
     */
    uint64_t messages_refused;
    /**
     * Times that a peer of the native wire went on from another address; 0 of a client's session, which is not told.
     */
    uint64_t migrations;
    /**
     * What the conditions did that `gk_server_simulate_peer` set for what is received from it; of a client, those of
     * `gk_client_simulate`.
     */
    gk_link_stats simulated_receive;
    /**
     * The same for what is sent to it; of a client, for what it sends.
     */
    gk_link_stats simulated_send;
} gk_peer_stats_t;

/**
 * Counts and times of a server since it started. `gk_server_stats_init` sets the size.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * Peers connected now.
     */
    uint32_t peers;
    /**
     * Handshakes under way now.
     */
    uint32_t handshakes;
    /**
     * Clients that wait for a decision now; they are not among `peers`.
     */
    uint32_t joining;
    /**
     * Peers that ever connected.
     */
    uint64_t connects;
    /**
     * Peers that left.
     */
    uint64_t disconnects;
    /**
     * Handshakes that were not proven in time.
     */
    uint64_t handshake_timeouts;
    /**
     * Datagrams sent.
     */
    uint64_t packets_sent;
    /**
     * Datagrams received, those thrown away included.
     */
    uint64_t packets_received;
    /**
     * Bytes of datagrams sent.
     */
    uint64_t bytes_sent;
    /**
     * Bytes of datagrams received, those thrown away included.
     */
    uint64_t bytes_received;
    /**
     * Datagrams thrown away: the source is on the block list.
     */
    uint64_t drops_blocked;
    /**
     * Datagrams thrown away: not of the wire (too short, wrong magic, wrong length, unknown type).
     */
    uint64_t drops_malformed;
    /**
     * Datagrams thrown away: from an address without a connection, and not a hello.
     */
    uint64_t drops_unknown;
    /**
     * Datagrams thrown away: tag or checksum does not fit.
     */
    uint64_t drops_forged;
    /**
     * Datagrams thrown away: seen before.
     */
    uint64_t drops_duplicate;
    /**
     * Datagrams thrown away: older than the replay window.
     */
    uint64_t drops_old;
    /**
     * Hellos thrown away: too short, another version, an unusable key.
     */
    uint64_t drops_hello;
    /**
     * Hellos thrown away: above the budget of the source or of the server, or above a table's bound.
     */
    uint64_t drops_hello_budget;
    /**
     * Hellos thrown away: the server had its maximum of peers.
     */
    uint64_t drops_full;
    /**
     * Datagrams thrown away: clear where only sealed ones are taken.
     */
    uint64_t drops_clear;
    /**
     * Datagrams that the operating system refused to send.
     */
    uint64_t drops_send_failed;
    /**
     * Ticks since start.
     */
    uint64_t ticks;
    /**
     * Ticks left out because the one before took longer than an interval.
     */
    uint64_t ticks_missed;
    /**
     * Log lines and access-log lines left out because a stranger caused too many.
     */
    uint64_t log_lines_suppressed;
    /**
     * Ticks per second over the last whole second.
     */
    double tick_rate_hz;
    /**
     * Seconds of the last whole second spent on received datagrams and the callbacks that they led to.
     */
    double messages_s;
    /**
     * Seconds of it spent in the update callback.
     */
    double update_s;
    /**
     * Seconds of it spent reading from and writing to the network.
     */
    double network_s;
    /**
     * Seconds of it spent waiting; of a polled server also what its host does between two polls.
     */
    double idle_s;
    /**
     * Clients that proved themselves and were not let in.
     */
    uint64_t refusals;
    /**
     * Datagrams thrown away: of no wire, or a query, above the budget of the source or of all; or a query that
     * is shorter than its answer.
     */
    uint64_t drops_raw_budget;
    /**
     * Times that a peer of the native wire went on from another address.
     */
    uint64_t migrations;
    /**
     * What the conditions did that `gk_server_simulate` set for what is received, peers with conditions of their own left
     * out.
     */
    gk_link_stats simulated_receive;
    /**
     * The same for what is sent.
     */
    gk_link_stats simulated_send;
} gk_server_stats_t;

/**
 * One second of a series. Its layout is fixed.
 */
typedef struct {
    /**
     * Datagrams sent.
     */
    uint32_t packets_sent;
    /**
     * Datagrams received.
     */
    uint32_t packets_received;
    /**
     * Bytes of datagrams sent.
     */
    uint32_t bytes_sent;
    /**
     * Bytes of datagrams received.
     */
    uint32_t bytes_received;
    /**
     * Mean one-way time in microseconds; 0 where nothing was measured.
     */
    uint32_t latency_us;
} gk_second;

/**
 * Where one second of the server's thread went, in seconds. Its layout is fixed.
 */
typedef struct {
    /**
     * Received datagrams, and the callbacks that they led to.
     */
    double messages_s;
    /**
     * The update callback.
     */
    double update_s;
    /**
     * Reading from and writing to the network.
     */
    double network_s;
    /**
     * Waiting; of a polled server also what its host does between two polls.
     */
    double idle_s;
    /**
     * Ticks in it.
     */
    uint32_t ticks;
    /**
     * 0.
     */
    uint32_t reserved;
} gk_profile_second;

/**
 * More of a door for streams. `gk_stream_options_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * Bytes that one read takes at most, 1 to 1,048,576: the longest message of a raw stream. Default 4096.
     */
    uint32_t read_bytes;
    /**
     * Of a server's door: connections at once, at most. Who comes above it takes the place of the newcomer that has been silent
     * for longest (its password, or its part of TLS, is still awaited), and is sent away where there is none. Default 0: as
     * many as the server takes peers.
     */
    uint32_t max_connections;
    /**
     * 1: the server's password is taken also where others can read it on the way: without TLS and not on loopback.
     * Default 0: a server that has a password and such a door does not start.
     */
    uint32_t password_in_clear;
    /**
     * How long a message that has begun may stand still, in either direction, in microseconds: less than a
     * kilobyte of it in this time ends the connection. Silence between messages is no stall. Default 30,000,000, range
     * 100,000 to 3,600,000,000.
     */
    uint64_t stall_timeout_us;
    /**
     * Of a server's door: the file with the certificate by which it speaks TLS, and nothing else, PEM, with those that
     * lead from it to one that clients know. It is read when a server starts. Default NULL: nothing is protected.
     */
    const char *certificate;
    /**
     * The file with its private key, PEM. Both or none. Default NULL.
     */
    const char *private_key;
    /**
     * Of a server's door: connections at once from one source (an IPv4 address or an IPv6 /64, loopback like any other), at
     * most; who comes above it is sent away. Default 0: a quarter of the door's connections, at least 16.
     */
    uint32_t max_connections_per_source;
    /**
     * 0.
     */
    uint32_t reserved;
} gk_stream_options;

/**
 * How messages are told apart in a stream: one of `GK_FRAMING_…`. More may be appended.
 */
typedef int32_t gk_framing;

/**
 * How clients in streams speak TLS: exactly one of `authorities`, `certificate` and `trust_anybody` says whom they believe.
 * Of the system's own list of authorities nothing is used. `gk_stream_tls_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * 1: whoever answers is believed. Only who reads along on the way and does nothing else is kept out: for
     * development. Default 0.
     */
    uint32_t trust_anybody;
    /**
     * A PEM file: a server is believed whose certificate leads to one in it, is for the server's name and valid now.
     * Default NULL.
     */
    const char *authorities;
    /**
     * A PEM file: a server is believed whose own certificate is one in it, byte for byte, whatever name and dates stand in
     * it. Default NULL.
     */
    const char *certificate;
    /**
     * The name, or the address without a port, that the certificate must be for, and that the server is told. Default NULL:
     * the host of the address that the client connects to.
     */
    const char *server_name;
} gk_stream_tls;

/**
 * A request that came in by HTTP and waits for its answer: a number that is never reused while the process lives, in any
 * of its servers. Once it is answered, has timed out, or its client has left, it is stale, and every function says
 * `GK_ERR_STALE`: a number cannot be kept too long. That of a WebSocket's opening answers questions as long as the WebSocket
 * is open.
 *
 * Whoever speaks HTTP does so on a thread of its own; the host sees only whole requests, on the server's thread.
 *
 * - `gk_context_listen_http`: where HTTP is spoken
 * - `gk_context_route`, `gk_context_route_websocket`, `gk_context_route_files`: what is answered
 * - `gk_context_clear_http`: takes doors and routes out again
 * - `gk_context_set_http_max_body`: the longest body, of the routes that follow
 * - `gk_context_set_http_route_door`: the door of the routes that follow
 * - `gk_context_set_http_max_connections`, `gk_context_set_http_max_requests`: bounds
 * - `gk_context_set_http_max_body_bytes`: the bound of all bodies together
 * - `gk_context_set_http_request_timeout_us`, `gk_context_set_http_head_timeout_us`: times
 * - `gk_context_set_http_password_in_clear`: of the doors that follow
 * - `gk_server_http_address`: where it is spoken in fact
 * - `gk_request_method`, `gk_request_path`, `gk_request_query_string`: the request's first line
 * - `gk_request_param`, `gk_request_query`, `gk_request_header`: one value by its name
 * - `gk_request_headers`: all headers
 * - `gk_request_body`: the body
 * - `gk_request_address`, `gk_request_is_secure`: where it came from, and how
 * - `gk_response_header`, `gk_response_send`: the answer, at once or later, from any thread
 * - `gk_response_clear`: takes the answer's headers back
 * - `gk_response_upgrade`: opens the WebSocket
 * - `gk_peer_request`: the request that opened the WebSocket of a peer
 */
typedef uint64_t gk_request;

/**
 * A request came to a route. `gk_response_send` answers it: from inside this callback, or later from any thread. One that is
 * not answered within `gk_context_set_http_request_timeout_us` is answered with 504.
 *
 * When: once for each request that the route's pattern and method fit, that has come whole and is within all limits. At a
 * route of WebSockets: before each opens; `gk_response_upgrade` lets it.
 * Thread: the server's.
 * Borrowed: nothing; the functions of `gk_request` copy.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_route_fn)(void *user_data, gk_server *server, gk_request request);

/**
 * An address of the server is being tried.
 *
 * When: first of all callbacks of a session; again for each further address of a host name.
 * Thread: the client's.
 * Borrowed: `address`, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_connecting_fn)(void *user_data, gk_client *client, const char *address);

/**
 * The server let the client in: messages flow.
 *
 * When: once per session, before its messages.
 * Thread: the client's.
 * Borrowed: `info` (the server's address, the session's public number) and its text, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_connect_fn)(void *user_data, gk_client *client, const gk_connect_info *info);

/**
 * The session ended, or never came to be.
 *
 * When: once for each session, after all others about it.
 * Thread: the client's.
 * Borrowed: `info` and its text, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`; `gk_client_reconnect` begins anew.
 */
typedef void (*gk_client_disconnect_fn)(void *user_data, gk_client *client, const gk_disconnect_info *info);

/**
 * A message arrived.
 *
 * When: once for each message, in the order in which they arrive.
 * Thread: the client's.
 * Borrowed: `message` and its bytes, until the callback returns. Copy what you keep.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_message_fn)(void *user_data, gk_client *client, const gk_message *message);

/**
 * One tick.
 *
 * When: at the tick rate, also while there is no session; missed ones are left out.
 * Thread: the client's.
 * Borrowed: `update`, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_update_fn)(void *user_data, gk_client *client, const gk_update *update);

/**
 * The queue that had refused a message has room again.
 *
 * When: after a send answered `GK_ERR_WOULD_BLOCK`, once.
 * Thread: the client's.
 * Borrowed: nothing.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_writable_fn)(void *user_data, gk_client *client);

/**
 * The client has stopped.
 *
 * When: last of all callbacks, once.
 * Thread: the client's.
 * Borrowed: the client, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_shutdown_fn)(void *user_data, gk_client *client);

/**
 * A line for the log.
 *
 * When: at any time.
 * Thread: the client's.
 * Borrowed: `text`, UTF-8, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`,
 * `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_log_fn)(void *user_data, gk_client *client, gk_log_level level, const char *text);

/**
 * Which datagrams are meant, as our side sees them: one of `GK_DIRECTION_…`.
 */
typedef int32_t gk_direction;

/**
 * What a simulated network does to the datagrams of one direction. `gk_conditions_init` fills in the
 * defaults, which do nothing. Chances are per datagram, from 0 to 1; times are at most 60,000,000 µs.
 *
 * In this order: a burst of losses or a single loss takes a datagram; it waits for the rate, or finds the
 * queue full and is dropped; it is perhaps doubled; each copy travels for the delay and its jitter, is perhaps
 * held back, and perhaps damaged. At most 65,536 datagrams and 32 MiB are under way on one link; what comes
 * on top is dropped.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * Chance of being lost, each datagram for itself. Default 0.
     */
    float loss;
    /**
     * Chance that a burst begins, in which everything is lost. Default 0.
     */
    float burst_loss;
    /**
     * Mean length of a burst in datagrams, 1 to 10,000. Default 1.
     */
    float burst_length;
    /**
     * How long each datagram travels, in microseconds. Default 0.
     */
    uint64_t delay_us;
    /**
     * How far that may lie above or below `delay_us`, evenly; never below 0. Datagrams at smaller distances
     * than twice this arrive in another order, as with Linux's netem. Default 0.
     */
    uint64_t jitter_us;
    /**
     * Chance of arriving twice. Default 0.
     */
    float duplicate;
    /**
     * Chance of being held back by `reorder_delay_us`, so that later ones pass. Default 0.
     */
    float reorder;
    /**
     * For how long, in microseconds. Default 0.
     */
    uint64_t reorder_delay_us;
    /**
     * Bytes per second that pass, without the headers of IP and UDP; 0: without limit. Default 0.
     */
    uint64_t rate_bytes_per_s;
    /**
     * Bytes that wait for the rate, up to 32 MiB: beyond it datagrams are dropped. Default 65,536.
     */
    uint64_t queue_bytes;
    /**
     * Chance that one bit is turned over. Default 0.
     */
    float corrupt;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Where chance comes from: with the same seed the same is done to the same datagrams. Default 0.
     */
    uint64_t seed;
} gk_conditions;

/**
 * A server that answered a search.
 *
 * - `gk_client_discover`: look for servers
 */
typedef struct {
    /**
     * Bytes that the library filled.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Where its answer came from, as `gk_client_start` takes it. One that is reached by several ways is found at several
     * addresses. A link-local one of IPv6, `"[fe80::1%2]:2021"`, has the number of this machine's interface in it.
     */
    const char *address;
    /**
     * What it tells about itself; nobody vouches for that. Never NULL, not even when `len` is 0.
     */
    const uint8_t *info;
    /**
     * How many bytes.
     */
    size_t len;
    /**
     * Time from the query to the answer, in microseconds.
     */
    uint64_t round_trip_us;
} gk_found;

/**
 * A server was found.
 *
 * When: at the end of the search, once for each server, in the order in which they answered.
 * Thread: the one that called `gk_client_discover`, inside that call.
 * Borrowed: `found` and what it points to, until the callback returns.
 * May call: everything.
 */
typedef void (*gk_found_fn)(void *user_data, const gk_found *found);

/**
 * How much is received. `gk_file_quota_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * Files of one peer at once, those included that wait for a decision. Default 4; more are refused.
     */
    uint32_t files_per_peer;
    /**
     * Files at once from all peers. Default 64.
     */
    uint32_t files_total;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Bytes of the longest file. Default 0: no bound.
     */
    uint64_t max_file_bytes;
    /**
     * Bytes of one peer while it is connected. Default 0: no bound.
     */
    uint64_t bytes_per_peer;
    /**
     * Bytes of all peers since the start. Default 0: no bound.
     */
    uint64_t bytes_total;
    /**
     * Files taken of one peer while it is connected, however short. Default 65,536; 0: no bound.
     */
    uint64_t count_per_peer;
    /**
     * Files taken of all peers since the start, however short. Default 0: no bound.
     */
    uint64_t count_total;
} gk_file_quota;

/**
 * Where an accepted file goes. `gk_file_target_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * 1: a file of this name is replaced once the new one is whole. Default 0: the new one gets a number.
     */
    uint32_t replace;
    /**
     * The directory, which must exist. Nothing is written elsewhere. No default.
     */
    const char *directory;
    /**
     * Another name than the offered one; it is reduced to a safe base name too. Default NULL: the offered one.
     */
    const char *name;
} gk_file_target;

/**
 * So many of a file's bytes are on the receiver's disk.
 *
 * When: about every 256 KiB. Of a client's files `server` is NULL and `peer` is `GK_PEER_NONE`.
 * Thread: the server's, or the client's.
 * Borrowed: nothing.
 * May call: as `gk_sent_fn`.
 */
typedef void (*gk_file_progress_fn)(void *user_data,
                                    gk_server *server,
                                    gk_peer peer,
                                    gk_file file,
                                    uint64_t done,
                                    uint64_t size);

/**
 * How a file is to be sent. `gk_file_options_init` fills in the defaults.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The name that it is offered under. Default NULL: the path's last component.
     */
    const char *name;
    /**
     * Told how much of it the receiver has written. Default NULL: who `gk_context_on_file` says is told.
     */
    gk_file_progress_fn on_progress;
    /**
     * Passed to both callbacks. Default NULL.
     */
    void *user_data;
} gk_file_options;

/**
 * A file that is offered.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Its name, UTF-8, reduced to a safe base name.
     */
    const char *name;
    /**
     * Bytes; 0 of a plain file, of which nobody knows.
     */
    uint64_t size;
    /**
     * SHA-256 of it, 32 bytes; all 0 of a plain file.
     */
    const uint8_t *sha256;
} gk_file_offer;

/**
 * A peer offers a file. `gk_server_accept_file` takes it, `gk_server_refuse_file` does not: from inside this callback, or later
 * from any thread.
 *
 * When: once per file. Without this callback, and without an event queue, all are refused.
 * Thread: the server's.
 * Borrowed: `offer` and what it points to, until the callback returns.
 * May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
 */
typedef void (*gk_file_offer_fn)(void *user_data,
                                 gk_server *server,
                                 gk_peer peer,
                                 gk_file file,
                                 const gk_file_offer *offer);

/**
 * How the transfer of a file ended: one of `GK_FILE_…`.
 */
typedef int32_t gk_file_result;

/**
 * How the transfer of a file ended.
 */
typedef struct {
    /**
     * sizeof this struct.
     */
    uint32_t struct_size;
    /**
     * `GK_FILE_DONE`, or why it failed.
     */
    gk_file_result result;
    /**
     * The file's name: of a received one the offered, made safe.
     */
    const char *name;
    /**
     * Where a received file is; empty for one that was sent, and after a failure.
     */
    const char *path;
    /**
     * One sentence about a failure; empty without one.
     */
    const char *text;
    /**
     * Bytes in all.
     */
    uint64_t size;
} gk_file_end;

/**
 * The transfer of a file ended.
 *
 * When: exactly once for each file that was sent or accepted, and for each offer that was withdrawn; at the latest before the
 * peer's disconnect. Never from inside the call that sends it. Of a client's files `server` is NULL and `peer` is
 * `GK_PEER_NONE`.
 * Thread: the server's, or the client's.
 * Borrowed: `end` and its texts, until the callback returns.
 * May call: as `gk_sent_fn`.
 */
typedef void (*gk_file_end_fn)(void *user_data,
                               gk_server *server,
                               gk_peer peer,
                               gk_file file,
                               const gk_file_end *end);

/**
 * The server offers a file. `gk_client_accept_file` takes it, `gk_client_refuse_file` does not: from inside this callback, or
 * later from any thread.
 *
 * When: once per file. Without this callback, and without an event queue, all are refused.
 * Thread: the client's.
 * Borrowed: `offer` and what it points to, until the callback returns.
 * May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`, `gk_client_disconnect_wait`.
 */
typedef void (*gk_client_file_offer_fn)(void *user_data,
                                        gk_client *client,
                                        gk_file file,
                                        const gk_file_offer *offer);

/**
 * It worked.
 */
#define GK_OK 0

/**
 * A pointer that must not be NULL is NULL.
 */
#define GK_ERR_NULL -1

/**
 * A value is out of its range, or malformed.
 */
#define GK_ERR_ARGUMENT -2

/**
 * A text is not UTF-8.
 */
#define GK_ERR_UTF8 -3

/**
 * The object is not in the state that the call needs: stopped, or run in another way.
 */
#define GK_ERR_STATE -4

/**
 * The call is not allowed from inside a callback.
 */
#define GK_ERR_REENTRANT -5

/**
 * Another thread is inside the same call.
 */
#define GK_ERR_BUSY -6

/**
 * The peer is gone, or was never one of this server's.
 */
#define GK_ERR_STALE -7

/**
 * A bounded queue is full; nothing was queued. Try again after the `writable` event.
 */
#define GK_ERR_WOULD_BLOCK -8

/**
 * The message is longer than the configured maximum.
 */
#define GK_ERR_TOO_LARGE -9

/**
 * The text is not an address, or names no local interface.
 */
#define GK_ERR_ADDRESS -10

/**
 * Another socket is bound to the address already.
 */
#define GK_ERR_ADDRESS_IN_USE -11

/**
 * The operating system refused; `gk_last_error` has its words.
 */
#define GK_ERR_IO -12

/**
 * A key cannot be read, or is of an unsupported kind.
 */
#define GK_ERR_KEY -13

/**
 * A signature does not fit the key and the data.
 */
#define GK_ERR_SIGNATURE -14

/**
 * The buffer is too small; the length parameter tells the capacity that is needed. It is the only out
 * parameter that is written on a failure.
 */
#define GK_ERR_BUFFER_TOO_SMALL -15

/**
 * The wait ended before what was waited for happened.
 */
#define GK_ERR_TIMEOUT -16

/**
 * A panic, which is a bug of the library, was caught. The object answers nothing but this from then on;
 * it can still be freed.
 */
#define GK_ERR_PANIC -17

/**
 * No peer.
 */
#define GK_PEER_NONE 0

/**
 * Sent again until it is acknowledged, for as long as the connection lives: exactly once.
 */
#define GK_RETRY_ON_TIMEOUT -1

/**
 * Sent once: at most once.
 */
#define GK_RETRY_NONE 0

/**
 * Sent again until it is acknowledged or the message timeout has passed: at most once.
 */
#define GK_RETRY_BEST_EFFORT 1

/**
 * Sent once, in a channel where a newer message drops older ones, unsent ones included: at most once. Native wire.
 */
#define GK_RETRY_SEQUENCED 2

/**
 * As `GK_RETRY_ON_TIMEOUT`, and delivered in the order in which its channel's messages were sent. Native wire.
 */
#define GK_RETRY_ORDERED 3

/**
 * The wire does not say how a message was sent.
 */
#define GK_MODE_UNKNOWN 127

/**
 * The remote side acknowledged all of it: its end of the connection has it, and will not be sent it again. Its host may not have
 * seen it yet: an ordered message can still wait there for older ones of its channel, and is handed over in its turn unless the
 * connection ends first; events can wait to be pulled; a sequenced message is dropped if a newer one came before it. Where
 * the host's having dealt with it matters, let it answer.
 */
#define GK_SENT_DELIVERED 1

/**
 * The message timeout passed first. It may have arrived all the same.
 */
#define GK_SENT_EXPIRED 2

/**
 * The connection ended first. It may have arrived all the same.
 */
#define GK_SENT_CANCELLED 3

/**
 * Something broke.
 */
#define GK_LOG_ERROR 1

/**
 * Something that the host should know of.
 */
#define GK_LOG_WARN 2

/**
 * What happens, in outline.
 */
#define GK_LOG_INFO 3

/**
 * What happens, in detail.
 */
#define GK_LOG_DEBUG 4

/**
 * The remote side said goodbye.
 */
#define GK_DISCONNECT_REMOTE 1

/**
 * The host called `gk_server_disconnect`.
 */
#define GK_DISCONNECT_KICKED 2

/**
 * Nothing valid came from it for the connection timeout.
 */
#define GK_DISCONNECT_TIMEOUT 3

/**
 * The server stopped.
 */
#define GK_DISCONNECT_SHUTDOWN 4

/**
 * A new client proved itself from the same address.
 */
#define GK_DISCONNECT_REPLACED 5

/**
 * Its address came onto the block list.
 */
#define GK_DISCONNECT_BLOCKED 6

/**
 * It was not let in.
 */
#define GK_DISCONNECT_REFUSED 7

/**
 * What it sent breaks the protocol's rules.
 */
#define GK_DISCONNECT_PROTOCOL 8

/**
 * This end left, seen from a client.
 */
#define GK_DISCONNECT_LOCAL 9

/**
 * The server does not know the connection any more: it was started again.
 */
#define GK_DISCONNECT_RESTARTED 10

/**
 * Of a client: the system says that nobody listens at the address. Not all systems tell: then it is
 * `GK_DISCONNECT_TIMEOUT`.
 */
#define GK_DISCONNECT_NOBODY_LISTENS 21

/**
 * Of a client: the system has no way to the address.
 */
#define GK_DISCONNECT_UNREACHABLE 22

/**
 * Of a client: the host name has no address, or the resolver does not answer.
 */
#define GK_DISCONNECT_NAME 23

/**
 * Of a client on mpgameserver's wire only: what answered does not have the pinned key. On the native wire a server with
 * another key cannot read the hello and answers nothing: that is `GK_DISCONNECT_TIMEOUT`, and its text says that nobody
 * answered who has the pinned key.
 */
#define GK_DISCONNECT_KEY 24

/**
 * First of the codes that are the host's own; from here to INT32_MAX.
 */
#define GK_DISCONNECT_HOST 1000

/**
 * Encrypted datagrams; `gk_peer_wire` tells of which wire.
 */
#define GK_DOOR_UDP 1

/**
 * A stream of bytes over TCP.
 */
#define GK_DOOR_STREAM 2

/**
 * A WebSocket.
 */
#define GK_DOOR_WEBSOCKET 3

/**
 * The format of the Python package mpgameserver. Its clients bring nothing to their join, and are not told
 * why they are refused.
 */
#define GK_WIRE_MPGAMESERVER 1

/**
 * The library's own.
 */
#define GK_WIRE_NATIVE 2

/**
 * A stream of bytes: TCP, with a framing.
 */
#define GK_WIRE_STREAM 3

/**
 * The server has as many peers as it may.
 */
#define GK_REFUSED_FULL 1

/**
 * As many clients as may be wait for a decision.
 */
#define GK_REFUSED_BUSY 2

/**
 * Nobody decided in time, or the client said nothing.
 */
#define GK_REFUSED_UNDECIDED 3

/**
 * A password is wanted, and none was given.
 */
#define GK_REFUSED_PASSWORD_WANTED 4

/**
 * The password is wrong.
 */
#define GK_REFUSED_PASSWORD_WRONG 5

/**
 * Too many passwords came from the same source.
 */
#define GK_REFUSED_TOO_MANY_GUESSES 6

/**
 * First of the numbers that are the host's own.
 */
#define GK_REFUSED_HOST 1000

/**
 * The server runs: the first event.
 */
#define GK_EVENT_STARTING 1

/**
 * A client proved itself. Set: `peer`, `text` (its address), `token`, `door`.
 */
#define GK_EVENT_CONNECT 2

/**
 * A peer left. Set: `peer`, `code` (a `gk_disconnect_code`), `text`.
 */
#define GK_EVENT_DISCONNECT 3

/**
 * A message arrived. Set: `peer`, `data`, `len`, `sequence`, `mode`, `channel`, `door`, `content`.
 */
#define GK_EVENT_MESSAGE 4

/**
 * One tick, or several that nobody pulled in time: then `seconds` is their sum and `tick` the last one's number. Set: `seconds`, `tick`.
 */
#define GK_EVENT_UPDATE 5

/**
 * A peer's queue that had refused a message has room again. Set: `peer`.
 */
#define GK_EVENT_WRITABLE 6

/**
 * The slow timer for housekeeping.
 */
#define GK_EVENT_RECONCILE 7

/**
 * What became of a message sent with `notify`. Set: `peer`, `code` (a `gk_outcome`), `user_data`.
 */
#define GK_EVENT_SENT 8

/**
 * The server has stopped: the last event.
 */
#define GK_EVENT_SHUTDOWN 9

/**
 * A line for the log. Set: `code` (a `gk_log_level`), `text`.
 */
#define GK_EVENT_LOG 10

/**
 * Of a client: an address of the server is being tried. Set: `text` (the address).
 */
#define GK_EVENT_CONNECTING 20

/**
 * A client waits for `gk_peer_accept` or `gk_peer_refuse`. Set: `peer`, `text` (its address), `token`, `door`,
 * `wire`, `password`, `data`, `len`.
 */
#define GK_EVENT_AUTHORISE 11

/**
 * A datagram that is of no wire. Set: `text` (its source), `data`, `len`.
 */
#define GK_EVENT_RAW 12

/**
 * A file is offered.
 */
#define GK_EVENT_FILE_OFFER 13

/**
 * More of a file is on the receiver's disk.
 */
#define GK_EVENT_FILE_PROGRESS 14

/**
 * The transfer of a file ended.
 */
#define GK_EVENT_FILE_END 15

/**
 * A request came to an HTTP route without a function. `gk_response_send` answers it. Set: `request`, `user_data` (the
 * route's).
 */
#define GK_EVENT_REQUEST 30

/**
 * Many per system call, on Linux; elsewhere as `GK_IO_PORTABLE`.
 */
#define GK_IO_BATCHED 1

/**
 * One per system call.
 */
#define GK_IO_PORTABLE 2

/**
 * Before all others.
 */
#define GK_PRIORITY_URGENT 0

/**
 * The default.
 */
#define GK_PRIORITY_NORMAL 1

/**
 * After those.
 */
#define GK_PRIORITY_LOW 2

/**
 * When nothing else waits: transfers.
 */
#define GK_PRIORITY_BULK 3

/**
 * The handshake is under way.
 */
#define GK_STATUS_CONNECTING 1

/**
 * Messages flow.
 */
#define GK_STATUS_CONNECTED 2

/**
 * The end has been asked for; what is queued is still being delivered.
 */
#define GK_STATUS_DISCONNECTING 3

/**
 * Ended by one of the two sides.
 */
#define GK_STATUS_DISCONNECTED 4

/**
 * Ended by silence.
 */
#define GK_STATUS_DROPPED 5

/**
 * It proved itself, and nobody has decided yet whether it may come in.
 */
#define GK_STATUS_JOINING 6

/**
 * Not at all: whatever one read brought is a message, and a message of no bytes cannot be sent.
 */
#define GK_FRAMING_RAW 0

/**
 * Each has its length in front: 32 bits, the most significant byte first.
 */
#define GK_FRAMING_LENGTH 1

/**
 * Each is a line: ended by a line feed, which is no part of it, nor is a carriage return before that. A message with
 * a line feed in it, or a carriage return at its end, cannot be sent.
 */
#define GK_FRAMING_LINES 2

/**
 * Each has a JSON header in front with `byteorder`, `content-type`, `content-encoding` and `content-length`, and in
 * front of that the header's length: 16 bits, the most significant byte first.
 */
#define GK_FRAMING_JSON 3

/**
 * No request.
 */
#define GK_REQUEST_NONE 0

/**
 * Those that we receive.
 */
#define GK_DIRECTION_RECEIVE 1

/**
 * Those that we send.
 */
#define GK_DIRECTION_SEND 2

/**
 * No file.
 */
#define GK_FILE_NONE 0

/**
 * All of it arrived, was checked, and is in its place.
 */
#define GK_FILE_DONE 0

/**
 * One of the two hosts gave it up.
 */
#define GK_FILE_CANCELLED 1

/**
 * The receiver's host does not want it.
 */
#define GK_FILE_REFUSED 2

/**
 * The receiver takes as many files as it may.
 */
#define GK_FILE_BUSY 3

/**
 * It would exceed a quota of the receiver.
 */
#define GK_FILE_QUOTA 4

/**
 * It is longer than the receiver takes.
 */
#define GK_FILE_TOO_LARGE 5

/**
 * The sender cannot read it, or it changed while it was sent.
 */
#define GK_FILE_VANISHED 6

/**
 * The receiver's disk is full.
 */
#define GK_FILE_NO_SPACE 7

/**
 * The receiver cannot write it.
 */
#define GK_FILE_DISK 8

/**
 * What arrived is not what was offered.
 */
#define GK_FILE_MISMATCH 9

/**
 * The other side broke the rules of transfers.
 */
#define GK_FILE_PROTOCOL 10

/**
 * Less than 16 KiB came in a minute, or nobody decided about it for ten. What is there stays for a next try.
 */
#define GK_FILE_STALLED 11

/**
 * The connection ended. What is there stays for a next try.
 */
#define GK_FILE_DISCONNECTED 12

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the library that runs, laid out like `GK_VERSION`; compare it with `GK_VERSION`, which is
 * that of the header you compiled with.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
uint32_t gk_version(void);

/**
 * Version of the library that runs, as text: "0.1.0".
 *
 * Thread: any.
 * Ownership: the text is static.
 */
const char *gk_version_str(void);

/**
 * What a code means, in a few words, for any number.
 *
 * Returns a text that is never NULL.
 *
 * Thread: any.
 * Ownership: the text is static.
 */
const char *gk_result_str(gk_result result);

/**
 * What exactly went wrong in the last call that failed on this thread, as one sentence; "" if none did.
 * Calls that succeed leave it as it is: ask only after a failure. It names values and their ranges and
 * carries the operating system's words.
 *
 * - `buf`: gets the text and a NUL, cut at a character if it is too small; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes
 *
 * Returns the length of the whole text without the NUL.
 *
 * Thread: any; each thread has its own.
 * Ownership: the text is copied.
 */
size_t gk_last_error(char *buf, size_t cap);

/**
 * Fills in size and defaults.
 *
 * - `content`: the struct
 * - `struct_size`: `sizeof(gk_content)`, so that a library with a longer struct does not write behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_content_init(gk_content *content, size_t struct_size);

/**
 * Takes up to `max` events out of the server's queue, oldest first. The queue holds the events for which
 * no callback is set; it exists only if `gk_context_set_max_queued_events` made it. It is filled while
 * the server runs: by its own thread, or inside `gk_server_poll`. The last event is
 * `GK_EVENT_SHUTDOWN`; the events of a server that has stopped can still be taken.
 *
 * - `events`: an array of `max` elements, which need no initialisation; may be NULL if `max` is 0
 * - `event_size`: `sizeof(gk_event)`
 * - `max`: how many at most
 * - `out_count`: how many were written; 0 if nothing happened
 *
 * Errors: `GK_ERR_STATE` (no event queue), `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another
 * thread is in it), `GK_ERR_ARGUMENT` (`event_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`. The batch before is
 * kept when the call fails.
 *
 * Thread: any, one at a time.
 * Ownership: what the events point to belongs to the server and lives until the next call that succeeds,
 * or `gk_server_free`. Peers whose disconnect was in the batch before become stale.
 */
gk_result gk_server_next_events(gk_server *server,
                                gk_event *events,
                                size_t event_size,
                                size_t max,
                                size_t *out_count);

/**
 * Sets what is called when the server runs; see `gk_starting_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_starting(gk_context *context, gk_starting_fn function, void *user_data);

/**
 * Sets what is called when a client has proved itself; see `gk_connect_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_connect(gk_context *context, gk_connect_fn function, void *user_data);

/**
 * Sets what is called when a peer left; see `gk_disconnect_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_disconnect(gk_context *context, gk_disconnect_fn function, void *user_data);

/**
 * Sets what is called when a message arrived; see `gk_message_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_message(gk_context *context, gk_message_fn function, void *user_data);

/**
 * Sets what is called once per tick; see `gk_update_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_update(gk_context *context, gk_update_fn function, void *user_data);

/**
 * Sets what is called when a full queue has room again; see `gk_writable_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_writable(gk_context *context, gk_writable_fn function, void *user_data);

/**
 * Sets what is called by the slow timer; see `gk_reconcile_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_reconcile(gk_context *context, gk_reconcile_fn function, void *user_data);

/**
 * Sets what is called when the server has stopped; see `gk_shutdown_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_shutdown(gk_context *context, gk_shutdown_fn function, void *user_data);

/**
 * Sets what is called with lines for the log; see `gk_log_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_log(gk_context *context, gk_log_fn function, void *user_data);

/**
 * Sets what decides about clients that proved themselves; see `gk_authorise_fn`.
 *
 * - `function`: NULL removes it; then everybody is let in, unless `gk_context_set_authorise` asks for events
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_authorise(gk_context *context, gk_authorise_fn function, void *user_data);

/**
 * Sets what is called with datagrams that are of no wire; see `gk_raw_fn`.
 *
 * - `function`: NULL removes it; then they are dropped, unless `gk_context_set_raw_datagrams` asks for events
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_raw(gk_context *context, gk_raw_fn function, void *user_data);

/**
 * Makes a new key from the system's randomness.
 *
 * - `out`: the key
 *
 * Errors: `GK_ERR_KEY` (the system gives no randomness), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the caller's, to be ended with `gk_key_free`.
 */
gk_result gk_key_generate(gk_key **out);

/**
 * Ends a key. Contexts and servers that were given it keep their copy.
 *
 * - `key`: may be NULL
 *
 * Thread: any; nobody may use the key any more.
 * Ownership: ends the caller's.
 */
void gk_key_free(gk_key *key);

/**
 * Makes a key from its private part as PEM: PKCS#8, "PRIVATE KEY".
 *
 * - `pem`: the text
 * - `out`: the key
 *
 * Errors: `GK_ERR_KEY`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the caller's, to be ended with `gk_key_free`; the text is not kept.
 */
gk_result gk_key_from_pem(const char *pem, gk_key **out);

/**
 * Makes a key from its private part as DER: PKCS#8.
 *
 * - `der`, `len`: the bytes
 * - `out`: the key
 *
 * Errors: `GK_ERR_KEY`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the caller's, to be ended with `gk_key_free`; the bytes are not kept.
 */
gk_result gk_key_from_der(const uint8_t *der, size_t len, gk_key **out);

/**
 * Makes a key from a PEM file with its private part.
 *
 * - `path`: UTF-8
 * - `out`: the key
 *
 * Errors: `GK_ERR_IO` (the file cannot be read), `GK_ERR_KEY`, `GK_ERR_UTF8`, `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the caller's, to be ended with `gk_key_free`.
 */
gk_result gk_key_load(const char *path, gk_key **out);

/**
 * Writes the private part to a file as PEM, readable by its owner only.
 *
 * - `path`: UTF-8
 *
 * Errors: `GK_ERR_IO`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_key_save(const gk_key *key, const char *path);

/**
 * Gives the private part as PEM: PKCS#8, "PRIVATE KEY".
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 512 is enough
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_key_private_pem(const gk_key *key, char *buf, size_t cap, size_t *out_len);

/**
 * Gives the public part as PEM: SubjectPublicKeyInfo, "PUBLIC KEY".
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 256 is enough
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_key_public_pem(const gk_key *key, char *buf, size_t cap, size_t *out_len);

/**
 * Gives the private part as DER: PKCS#8.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 256 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_key_private_der(const gk_key *key, uint8_t *buf, size_t cap, size_t *out_len);

/**
 * Gives the public part as DER: SubjectPublicKeyInfo, 91 bytes.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 91 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_key_public_der(const gk_key *key, uint8_t *buf, size_t cap, size_t *out_len);

/**
 * Gives the X25519 public key that a server with this root key has on the native wire.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 32 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_key_native_public(const gk_key *key, uint8_t *buf, size_t cap, size_t *out_len);

/**
 * Signs bytes: ECDSA over SHA-256, as ASN.1 DER.
 *
 * - `data`, `len`: the bytes; may be NULL with 0
 * - `buf`: gets the signature; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 72 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed. Signatures of the
 *   same bytes differ, also in length: ask for 72.
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_KEY` (the system gives no randomness), `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_key_sign(const gk_key *key,
                      const uint8_t *data,
                      size_t len,
                      uint8_t *buf,
                      size_t cap,
                      size_t *out_len);

/**
 * Checks a signature as `gk_key_sign` makes it.
 *
 * - `public_der`, `der_len`: the public part, SubjectPublicKeyInfo as DER
 * - `data`, `len`: the bytes that were signed; may be NULL with 0
 * - `signature`, `signature_len`: the signature
 *
 * Errors: `GK_ERR_SIGNATURE` (does not fit), `GK_ERR_KEY`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is kept.
 */
gk_result gk_public_key_verify(const uint8_t *public_der,
                               size_t der_len,
                               const uint8_t *data,
                               size_t len,
                               const uint8_t *signature,
                               size_t signature_len);

/**
 * Converts a public key from PEM ("PUBLIC KEY") to DER (SubjectPublicKeyInfo, 91 bytes).
 *
 * - `pem`: the text
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 91 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_KEY`, `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_public_key_pem_to_der(const char *pem, uint8_t *buf, size_t cap, size_t *out_len);

/**
 * Converts a public key from DER (SubjectPublicKeyInfo) to PEM ("PUBLIC KEY").
 *
 * - `der`, `len`: the bytes
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 256 is enough
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_KEY`, `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_public_key_der_to_pem(const uint8_t *der, size_t len, char *buf, size_t cap, size_t *out_len);

/**
 * Makes a context with all defaults.
 *
 * - `out`: the context
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the caller's, to be ended with `gk_context_free`.
 */
gk_result gk_context_new(gk_context **out);

/**
 * Ends a context. Servers that were started with it run on.
 *
 * - `context`: may be NULL
 *
 * Thread: any; nobody may use the context any more.
 * Ownership: ends the caller's.
 */
void gk_context_free(gk_context *context);

/**
 * Sets the key that proves the server's identity to clients that have its public part.
 *
 * - `key`: copied; NULL (the default): one is generated at each start, with a log line that says so, and
 *   clients cannot know it beforehand
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `key` stays the caller's and may be freed.
 */
gk_result gk_context_set_root_key(gk_context *context, const gk_key *key);

/**
 * Sets how many update events there are per second.
 *
 * - `hz`: default 60, range 1 to 10,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_tick_rate_hz(gk_context *context, double hz);

/**
 * Sets after how long a peer that was sent nothing gets an empty datagram, which carries acknowledgements.
 *
 * - `microseconds`: default 100,000 (0.1 s), range 10,000 (10 ms) to 60,000,000 (60 s)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_keep_alive_interval_us(gk_context *context, uint64_t microseconds);

/**
 * Sets after how long a peer from which no valid datagram came is dropped.
 *
 * - `microseconds`: default 5,000,000 (5 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_connection_timeout_us(gk_context *context, uint64_t microseconds);

/**
 * Sets after how long a handshake that is not proven is forgotten; of clients, after how long an address that has not
 * answered is given up. On the native wire a server that has answered may take longer to let a client in: the client
 * waits while it hears the server, an hour more at most.
 *
 * - `microseconds`: default 2,000,000 (2 s), range 100,000 (0.1 s) to 60,000,000 (60 s)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_handshake_timeout_us(gk_context *context,
                                              uint64_t microseconds);

/**
 * Sets after how long a message without retry, or with best effort, whose datagrams were not acknowledged,
 * is reported as expired.
 *
 * - `microseconds`: default 1,000,000 (1 s), range 50,000 (50 ms) to 60,000,000 (60 s)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_message_timeout_us(gk_context *context, uint64_t microseconds);

/**
 * Sets the time between two reconcile events.
 *
 * - `microseconds`: default 5,000,000 (5 s), range 10,000 (10 ms) to 3,600,000,000 (1 h)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_reconcile_interval_us(gk_context *context, uint64_t microseconds);

/**
 * Sets the least time between two datagrams to one peer that are not full. A client of mpgameserver reads
 * one datagram per frame: more than that queue up at it.
 *
 * - `microseconds`: default 1/60 s (about 16,667), range 0 (send at once) to 1,000,000 (1 s)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_send_interval_us(gk_context *context, uint64_t microseconds);

/**
 * Sets after how long a message in fragments is given up of which none came while its sender went on to
 * newer messages; after six times this it is given up in any case.
 *
 * - `microseconds`: default 5,000,000 (5 s), range 100,000 (0.1 s) to 600,000,000 (10 min)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_reassembly_timeout_us(gk_context *context, uint64_t microseconds);

/**
 * Sets the largest IP packet; a datagram carries 28 bytes less. Clients must use the same value: with another
 * one their hello can be too short to be answered.
 *
 * - `bytes`: default 1500, range 576 to 1500
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_mtu(gk_context *context, uint32_t bytes);

/**
 * Sets how many peers can be connected; above it new handshakes are refused and counted.
 *
 * - `count`: default 4096, range 1 to 1,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_peers(gk_context *context, uint32_t count);

/**
 * Sets how many unproven handshakes are kept; above it hellos are dropped and counted.
 *
 * - `count`: default 4096, range 1 to 65,536
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_handshakes(gk_context *context, uint32_t count);

/**
 * Sets how many hellos one source (an IPv4 address or an IPv6 /64) may have answered per second on average, with
 * bursts of 4096. Above it hellos are dropped and counted.
 *
 * - `hz`: default 256, range 1 to 1,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_hellos_per_source_hz(gk_context *context,
                                              double hz);

/**
 * Sets how many hellos are answered per second in total on average, with bursts of 4096. Each costs a key
 * exchange and a signature, about 0.2 ms. Above it hellos are dropped and counted.
 *
 * - `hz`: default 1000, range 1 to 1,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_hellos_total_hz(gk_context *context, double hz);

/**
 * Says which datagram formats a server speaks on its port; they are told apart by the first byte.
 *
 * - `mpgameserver`, `native`: 1 or 0; default both 1, and at least one must be
 *
 * Errors: `GK_ERR_ARGUMENT` (neither, or another number), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_wires(gk_context *context, uint32_t mpgameserver, uint32_t native);

/**
 * Has every short message (up to 512 bytes) that is resent ride again in so many further packets before anybody knows of a
 * loss, so that a single loss costs no round trip. Native wire, of servers and clients. A message's own redundancy
 * counts where it is more.
 *
 * - `copies`: default 0, range 0 to 4
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_redundancy(gk_context *context,
                                    uint32_t copies);

/**
 * Sets the longest message, each way. A longer one is refused with `GK_ERR_TOO_LARGE` on sending, and thrown
 * away and counted on receiving.
 *
 * - `bytes`: default 8,388,608 (8 MiB), range 1 to 8,388,608
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_message_size(gk_context *context, size_t bytes);

/**
 * Sets how many messages of one peer can be queued and not yet acknowledged; a full queue answers
 * `GK_ERR_WOULD_BLOCK`.
 *
 * - `count`: default 4096, range 1 to 1,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_queued_messages(gk_context *context, uint32_t count);

/**
 * Sets how many bytes of message of one peer can be queued and not yet acknowledged; a full queue answers
 * `GK_ERR_WOULD_BLOCK`. An empty queue takes one message even if that is larger.
 *
 * - `bytes`: default 16,777,216 (16 MiB), range 1024 to 1,073,741,824 (1 GiB)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_queued_bytes(gk_context *context, size_t bytes);

/**
 * Sets how many bytes of unfinished messages of one peer are kept; a fragment above it is refused
 * unacknowledged, so that its sender repeats it. The oldest unfinished message is always let in: a peer can
 * take this and one longest message.
 *
 * - `bytes`: default 16,777,216 (16 MiB), range 2048 to 1,073,741,824 (1 GiB)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_reassembly_bytes(gk_context *context, size_t bytes);

/**
 * Sets how many events are kept for a host that pulls them with `gk_server_next_events`. Events without a
 * callback go there. When it is full, messages are refused unacknowledged and counted, so that their
 * senders repeat them; nobody can connect; and a send with `notify` answers `GK_ERR_WOULD_BLOCK`.
 *
 * - `count`: default 0 (no queue: events without a callback go nowhere), range 0 to 10,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_queued_events(gk_context *context, uint32_t count);

/**
 * Sets how many bytes of message are kept in the event queue; the consequence is the same.
 *
 * - `bytes`: default 67,108,864 (64 MiB), range 65,536 (64 KiB) to 4,294,967,296 (4 GiB)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_queued_event_bytes(gk_context *context, size_t bytes);

/**
 * Sets what is asked of the kernel for the receive buffer of the socket. The kernel may grant less; a burst beyond
 * what it grants is lost.
 *
 * - `bytes`: default 4,194,304 (4 MiB), range 4096 to 1,073,741,824 (1 GiB)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_socket_receive_bytes(gk_context *context,
                                              size_t bytes);

/**
 * Sets what is asked of the kernel for the send buffer of the socket. The kernel may grant less; datagrams
 * of a burst beyond what it grants are lost and counted.
 *
 * - `bytes`: default 4,194,304 (4 MiB), range 4096 to 1,073,741,824 (1 GiB)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_socket_send_bytes(gk_context *context, size_t bytes);

/**
 * Sets how datagrams pass between a server and the system. What is delivered is the same; it is there for
 * systems whose batches are broken, and for comparing.
 *
 * - `io`: default `GK_IO_BATCHED` on Linux, `GK_IO_PORTABLE` elsewhere
 *
 * Errors: `GK_ERR_ARGUMENT` (not one of `GK_IO_…`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_io(gk_context *context, gk_io io);

/**
 * Sets how long the loop of a server, or of a client, asks for more again and again, without sleeping, after the
 * last datagram. It answers sooner then, by the time that waking takes. It costs a whole core while it lasts: for
 * ever, where somebody sends more often than this. A host that polls with a timeout of 0 never waits anyway.
 *
 * - `microseconds`: default 0 (it sleeps at once), range 0 to 1,000,000 (1 s)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_busy_poll_us(gk_context *context,
                                      uint64_t microseconds);

/**
 * Sets the addresses whose datagrams are dropped before they are read. It replaces the list before;
 * `gk_server_set_block_list` replaces that of a running server.
 *
 * - `entries`: addresses and ranges: "192.0.2.1", "198.51.100.0/24", "2001:db8::/32"; may be NULL if
 *   `count` is 0
 * - `count`: how many; 0 (the default) blocks nobody
 *
 * Errors: `GK_ERR_ARGUMENT` (not an address or range; `gk_last_error` names it), `GK_ERR_UTF8`,
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the texts are copied.
 */
gk_result gk_context_set_block_list(gk_context *context, const char *const *entries, size_t count);

/**
 * Sets the file that gets one line per connect, refusal and disconnect: time, address, token, reason.
 * It is opened for appending when a server starts; a start fails if that is not possible.
 *
 * - `path`: UTF-8; NULL (the default): no such log
 *
 * Errors: `GK_ERR_ARGUMENT` (empty), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the text is copied.
 */
gk_result gk_context_set_access_log(gk_context *context, const char *path);

/**
 * Sets whether every client waits for a decision even without an authorise callback: the question is then a
 * `GK_EVENT_AUTHORISE` in the event queue, which must be there when a server starts.
 *
 * - `enabled`: 0 (the default) or 1
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_authorise(gk_context *context, uint32_t enabled);

/**
 * Sets how many clients can wait for a decision; above it they are refused with `GK_REFUSED_BUSY`.
 *
 * - `count`: default 1024, range 1 to 1,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_max_joining(gk_context *context, uint32_t count);

/**
 * Sets after how long a client about which nothing was decided is refused with `GK_REFUSED_UNDECIDED`.
 *
 * - `microseconds`: default 10,000,000 (10 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_authorise_timeout_us(gk_context *context, uint64_t microseconds);

/**
 * Sets what a client must know to come in. It is compared in constant time, before the authorise callback,
 * and wrong ones are limited: ten at once from one source (an IPv4 address or an IPv6 /64), then one in five
 * seconds. A client of mpgameserver's wire has no way to give one: it is refused, unless there is an authorise
 * callback, which then decides.
 *
 * - `password`, `len`: 1 to 256 bytes; NULL with 0 (the default): none
 *
 * Errors: `GK_ERR_ARGUMENT` (length; beside a door for plain files, which takes none), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the bytes are copied; a server keeps a digest. Clients made with the context give it.
 */
gk_result gk_context_set_password(gk_context *context,
                                  const uint8_t *password,
                                  size_t len);

/**
 * Sets how many bytes one peer can be sent per second on average, in bursts of a tenth of a second; of clients, how many
 * the server can be sent. Messages beyond it wait in the peer's queue; datagrams that carry none (acknowledgements, goodbyes) leave all
 * the same, and count.
 *
 * - `bytes_per_second`: payload of UDP; default 0 (no limit), range 0, or 1000 to 1,000,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_peer_send_rate(gk_context *context,
                                        uint64_t bytes_per_second);

/**
 * Sets how many bytes all peers together can be sent per second on average, in bursts of a tenth of a second.
 * They take turns, a datagram each. What strangers are answered counts too, and always leaves.
 *
 * - `bytes_per_second`: payload of UDP; default 0 (no limit), range 0, or 1000 to 1,000,000,000
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_server_send_rate(gk_context *context, uint64_t bytes_per_second);

/**
 * Sets whether datagrams that are of no wire become `GK_EVENT_RAW` in the event queue even without a callback.
 *
 * - `enabled`: 0 (the default: without a callback they are dropped) or 1
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_raw_datagrams(gk_context *context,
                                       uint32_t enabled);

/**
 * Sets what those who look for servers are told (`gk_client_discover`): a name, a number of players, in a form of
 * the host's own. Anybody who can send the server a datagram can read it. `gk_server_set_discovery_info`
 * replaces that of a running server.
 *
 * - `info`, `len`: at most 1187 bytes; NULL with 0 (the default): no answer
 *
 * Errors: `GK_ERR_ARGUMENT` (length), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the bytes are copied.
 */
gk_result gk_context_set_discovery_info(gk_context *context,
                                        const uint8_t *info,
                                        size_t len);

/**
 * Binds an address and runs a server on a thread of its own, which all callbacks come from.
 *
 * - `context`: copied
 * - `address`: `"127.0.0.1:2021"`, `"[::1]:2021"`, `"[::]:2021"` (IPv6, and IPv4 where the system does
 *   both); an empty host, `":2021"`, is all interfaces; port 0 lets the system choose, see `gk_server_port`
 * - `out`: the server. Callbacks can come before it is written; they get it as their argument.
 *
 * Errors: `GK_ERR_ADDRESS`, `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO` (socket, thread, access log),
 * `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, while nobody changes the context.
 * Ownership: the server is the caller's, to be ended with `gk_server_free`; context and address stay the
 * caller's.
 */
gk_result gk_server_start(const gk_context *context, const char *address, gk_server **out);

/**
 * Binds an address for a server that the host runs with `gk_server_poll`, from its own main loop. All
 * callbacks come from inside that call, and from inside `gk_server_stop` and `gk_server_free` where these
 * have to finish the server. Nothing happens between polls, and clients time
 * out after a few seconds without one: poll at least as often as ticks are due.
 *
 * - the parameters are those of `gk_server_start`
 *
 * Errors: as `gk_server_start`.
 *
 * Thread: any, while nobody changes the context.
 * Ownership: as `gk_server_start`.
 */
gk_result gk_server_open(const gk_context *context, const char *address, gk_server **out);

/**
 * Runs the server: reads what came, calls back, ticks, writes. If there is nothing to do it waits for
 * something first.
 *
 * - `timeout_us`: waits at most so many microseconds; 0 does not wait; `GK_FOREVER` waits until something
 *   happened
 *
 * Errors: `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another thread is in it), `GK_ERR_STATE`
 * (stopped, being stopped by another thread, or made by `gk_server_start`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 * That nothing happened is no error.
 *
 * Thread: any, one at a time; best always the same. Callbacks come from it.
 * Ownership: nothing is passed.
 */
gk_result gk_server_poll(gk_server *server, uint64_t timeout_us);

/**
 * Makes a `gk_server_poll` that waits return; if none waits, the next one returns at once.
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_server_wake(gk_server *server);

/**
 * Gives a descriptor that becomes readable when `gk_server_poll` has something to do (unix): for
 * `select`, `poll`, `epoll` or an event library. Wait for it no longer than `gk_server_next_timeout_us`
 * says, then poll with timeout 0. It is level-triggered, and only good for waiting.
 *
 * - `out`: the descriptor
 *
 * Errors: `GK_ERR_STATE` (a system without descriptors), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the descriptor is the server's; do not close it. It is valid until `gk_server_free`.
 */
gk_result gk_server_descriptor(const gk_server *server, int32_t *out);

/**
 * Gives the time until `gk_server_poll` has something to do even if nothing arrives.
 *
 * - `out`: microseconds from now, rounded up; 0: it is due; `GK_FOREVER`: nothing is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_server_next_timeout_us(const gk_server *server, uint64_t *out);

/**
 * Stops the server: disconnects all peers and reports each, completes what was sent, sends what closing
 * needs, and calls shutdown last. From inside a callback it takes effect when the callback has returned;
 * from outside it returns when all that is done. A second stop does nothing more.
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any. If nobody polls a server made by `gk_server_open`, the last callbacks come from here.
 * Ownership: the server stays the caller's, and answers questions until `gk_server_free`.
 */
gk_result gk_server_stop(gk_server *server);

/**
 * Waits until the server has stopped. It does not stop it.
 *
 * - `timeout_us`: waits at most so many microseconds; 0 only asks; `GK_FOREVER`: without limit
 *
 * Errors: `GK_ERR_TIMEOUT`, `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any but the server's own; a server made by `gk_server_open` needs another thread that polls it.
 * Ownership: nothing is passed.
 */
gk_result gk_server_wait(gk_server *server, uint64_t timeout_us);

/**
 * Tells whether the server has stopped.
 *
 * - `out`: 1 when its last callback has returned, else 0
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_server_is_stopped(const gk_server *server, uint32_t *out);

/**
 * Stops the server as `gk_server_stop` does, and gives it back. From inside one of the server's own
 * callbacks it returns at once: the stop takes effect when the callback has returned, and the callbacks
 * that stopping makes still come, with the same pointer, which is good inside them only.
 *
 * - `server`: may be NULL
 *
 * Thread: any. No other thread may call with this pointer from now on; calls of `gk_server_poll` and
 * `gk_server_wait` that wait in other threads return.
 * Ownership: ends the caller's; what `gk_server_next_events` handed out ends with it.
 */
void gk_server_free(gk_server *server);

/**
 * Gives the address that the server is bound to, with the real port: `"0.0.0.0:2021"` or `"[::]:2021"`.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_address(const gk_server *server, char *buf, size_t cap, size_t *out_len);

/**
 * Gives the port that the server is bound to.
 *
 * - `out`: the port, never 0
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_server_port(const gk_server *server, uint16_t *out);

/**
 * Gives the public part of the server's root key, for clients to pin: SubjectPublicKeyInfo as DER.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 91 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_server_public_key_der(const gk_server *server, uint8_t *buf, size_t cap, size_t *out_len);

/**
 * Gives the X25519 public key that clients of the native wire pin. It follows from the root key.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 32 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_server_native_key(const gk_server *server, uint8_t *buf, size_t cap, size_t *out_len);

/**
 * Replaces the block list. Peers that are on the new one are disconnected with `GK_DISCONNECT_BLOCKED`.
 *
 * - `entries`, `count`: as for `gk_context_set_block_list`
 *
 * Errors: `GK_ERR_ARGUMENT` (not an address or range; the list before stays), `GK_ERR_STATE` (stopped),
 * `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the texts are copied.
 */
gk_result gk_server_set_block_list(gk_server *server, const char *const *entries, size_t count);

/**
 * Replaces what those who look for servers are told.
 *
 * - `info`, `len`: as for `gk_context_set_discovery_info`
 *
 * Errors: `GK_ERR_ARGUMENT` (length), `GK_ERR_STATE` (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_server_set_discovery_info(gk_server *server, const uint8_t *info, size_t len);

/**
 * Gives all connected peers.
 *
 * - `buf`: an array; may be NULL if `cap` is 0
 * - `cap`: how many it holds
 * - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed now
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the numbers are copied; a peer can leave while you look at them.
 */
gk_result gk_server_peers(const gk_server *server, gk_peer *buf, size_t cap, size_t *out_count);

/**
 * Fills in size and defaults.
 *
 * - `options`: the struct
 * - `struct_size`: `sizeof(gk_send_options)`, so that a library with a longer struct does not write behind
 *   yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_send_options_init(gk_send_options *options, size_t struct_size);

/**
 * Fills in size and defaults.
 *
 * - `info`: the struct
 * - `struct_size`: `sizeof(gk_disconnect_info)`, so that a library with a longer struct does not write
 *   behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_disconnect_info_init(gk_disconnect_info *info, size_t struct_size);

/**
 * Queues a message for a peer.
 *
 * - `data`, `len`: the bytes; may be NULL with 0: an empty message is one
 * - `options`: NULL sends it once, without asking what became of it
 *
 * Errors, after which nothing is queued and `on_sent` is not called: `GK_ERR_STALE`,
 * `GK_ERR_WOULD_BLOCK` (the peer's queue is full: `writable` will tell; or with `notify` the event queue is:
 * take events first), `GK_ERR_TOO_LARGE`, `GK_ERR_STATE` (stopped, or `notify` without an event queue), `GK_ERR_ARGUMENT` (`options`), `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied; `options->user_data` stays the host's and must live until `on_sent`.
 */
gk_result gk_server_send(gk_server *server,
                         gk_peer peer,
                         const uint8_t *data,
                         size_t len,
                         const gk_send_options *options);

/**
 * Queues a message for a peer that is sent again until it is acknowledged: it arrives exactly once if the
 * connection lives. The same as `gk_server_send` with `GK_RETRY_ON_TIMEOUT`.
 *
 * - `data`, `len`: the bytes; may be NULL with 0
 * - `on_sent`: told once what became of it; may be NULL
 * - `user_data`: passed to `on_sent`
 *
 * Errors: as `gk_server_send`.
 *
 * Thread: any.
 * Ownership: the bytes are copied; `user_data` stays the host's and must live until `on_sent`.
 */
gk_result gk_server_send_guaranteed(gk_server *server,
                                    gk_peer peer,
                                    const uint8_t *data,
                                    size_t len,
                                    gk_sent_fn on_sent,
                                    void *user_data);

/**
 * Queues a message for all connected peers, or all but one. Peers whose queue is full are left out; they
 * get `writable` later.
 *
 * - `except`: who does not get it; `GK_PEER_NONE`, or a peer that is gone: all get it
 * - `data`, `len`: the bytes; may be NULL with 0
 * - `options`: NULL sends it once; `on_sent` must be NULL and `notify` 0
 * - `out_sent`: for how many peers it was queued; may be NULL
 *
 * Errors: `GK_ERR_TOO_LARGE`, `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT` (`options`), `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_server_broadcast(gk_server *server,
                              gk_peer except,
                              const uint8_t *data,
                              size_t len,
                              const gk_send_options *options,
                              size_t *out_sent);

/**
 * Puts a peer into the group of a name, which comes to be with its first member and ends with its last. The membership
 * ends with the peer. To be in it already is no error. For all peers there is `gk_server_broadcast`.
 *
 * - `group`: the name, 1 to `GK_GROUP_MAX_NAME_BYTES` bytes of UTF-8; names are told apart byte by byte
 * - `peer`: who
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (an empty name, or too long), `GK_ERR_UTF8`, `GK_ERR_WOULD_BLOCK` (it is in
 * 64 groups, or the server has 65,536), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the name is copied.
 */
gk_result gk_server_group_add(gk_server *server,
                              const char *group,
                              gk_peer peer);

/**
 * Takes a peer out of a group. Not to be in it is no error.
 *
 * - `group`: the name, as `gk_server_group_add` takes it
 * - `peer`: who
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (an empty name, or too long), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the name stays the caller's.
 */
gk_result gk_server_group_remove(gk_server *server,
                                 const char *group,
                                 gk_peer peer);

/**
 * Queues a message for all members of a group, or all but one. Peers whose queue is full are left out and
 * counted; they get `writable` later.
 *
 * - `group`: the name, as `gk_server_group_add` takes it; a group without members reaches nobody
 * - `except`: who does not get it; `GK_PEER_NONE`, or a peer that is gone: all get it
 * - `data`, `len`: the bytes; may be NULL with 0
 * - `options`: NULL sends it once; `on_sent` must be NULL and `notify` 0
 * - `out_sent`: for how many peers it was queued; may be NULL
 * - `out_refused`: how many have a full queue; may be NULL
 *
 * Errors: `GK_ERR_TOO_LARGE`, `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT` (`options`; an empty name, or too long),
 * `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied, once for all.
 */
gk_result gk_server_group_send(gk_server *server,
                               const char *group,
                               gk_peer except,
                               const uint8_t *data,
                               size_t len,
                               const gk_send_options *options,
                               size_t *out_sent,
                               size_t *out_refused);

/**
 * Answers a raw datagram: within five seconds, once, and with no more bytes than it had, so that nobody
 * can make the server send a third party more than they send themselves.
 *
 * - `to`: where the datagram came from, as the callback or the event told
 * - `data`, `len`: the bytes; may be NULL with 0
 *
 * Errors: `GK_ERR_STATE` (nobody there has asked, or they were answered; stopped), `GK_ERR_TOO_LARGE`,
 * `GK_ERR_WOULD_BLOCK` (too many answers wait to be sent: this one is dropped), `GK_ERR_ADDRESS`,
 * `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_server_send_raw(gk_server *server, const char *to, const uint8_t *data, size_t len);

/**
 * Ends a peer's connection. The disconnect event follows, from the server's thread. A client that waits for a
 * decision is refused by it, and no event follows.
 *
 * - `info`: why, and whether now; NULL: `GK_DISCONNECT_KICKED`, now
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT` (`info`), `GK_ERR_UTF8`,
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_disconnect(gk_server *server, gk_peer peer, const gk_disconnect_info *info);

/**
 * Fills in size and defaults.
 *
 * - `item`: the struct
 * - `struct_size`: `sizeof(gk_send_item)`, so that a library with a longer struct does not write behind
 *   yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_send_item_init(gk_send_item *item, size_t struct_size);

/**
 * Queues many messages, for one peer or for many, in the order of the array: as a call of `gk_server_send` for each, but in one,
 * for callers to whom each call is dear. A message that is refused does not keep back those behind it.
 *
 * - `items`: the messages; `result` of each tells what became of it, where `gk_last_error` has no text; may be NULL
 *   with 0
 * - `item_size`: `sizeof(gk_send_item)`
 * - `count`: how many
 * - `out_queued`: for how many `result` is `GK_OK`; may be NULL
 *
 * Errors, after which nothing is queued and no `result` set: `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT`
 * (`item_size`, `count`, or an item's `struct_size` is not `item_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`. A `result` can be:
 * `GK_OK` and the errors of `gk_server_send`.
 *
 * Thread: any; an item is no other thread's while the call lasts.
 * Ownership: array and bytes stay the caller's, the bytes are copied; `user_data` stays the host's.
 */
gk_result gk_server_send_many(gk_server *server,
                              gk_send_item *items,
                              size_t item_size,
                              size_t count,
                              size_t *out_queued);

/**
 * Gives where a peer's datagrams come from: `"192.0.2.1:50000"` or `"[2001:db8::1]:50000"`.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_peer_address(const gk_server *server, gk_peer peer, char *buf, size_t cap, size_t *out_len);

/**
 * Gives the public number of a peer's session, unique among the server's live peers.
 *
 * - `out`: the number
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_token(const gk_server *server, gk_peer peer, uint32_t *out);

/**
 * Gives how a peer came in: by datagrams, of which `gk_peer_wire` tells the wire, or by another door.
 *
 * - `out`: one of `GK_DOOR_…`
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_door(const gk_server *server, gk_peer peer, gk_door *out);

/**
 * Gives the smoothed time that a message takes one way: half of what an acknowledgement takes.
 *
 * - `out`: microseconds; 0 if nothing was measured yet
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_latency_us(const gk_server *server, gk_peer peer, uint64_t *out);

/**
 * Gives where a peer's connection stands.
 *
 * - `out`: one of `GK_STATUS_…`
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_status(const gk_server *server, gk_peer peer, gk_status *out);

/**
 * Gives which wire a peer speaks.
 *
 * - `out`: one of `GK_WIRE_…`
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_wire(const gk_server *server, gk_peer peer, gk_wire *out);

/**
 * Gives how many bytes of message are queued for a peer and not yet acknowledged.
 *
 * - `out`: bytes
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_queued_bytes(const gk_server *server, gk_peer peer, size_t *out);

/**
 * Gives the host's own pointer for a peer.
 *
 * - `out`: what `gk_peer_set_user_data` set last; NULL before
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: what it points to is the host's.
 */
gk_result gk_peer_user_data(const gk_server *server, gk_peer peer, void **out);

/**
 * Sets the host's own pointer for a peer. The place to give it free is the disconnect callback.
 *
 * - `user_data`: anything; the library never follows it
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: what it points to stays the host's.
 */
gk_result gk_peer_set_user_data(gk_server *server, gk_peer peer, void *user_data);

/**
 * Lets a client in that waits for a decision: its connect follows, from the server's thread.
 *
 * Errors: `GK_ERR_STALE` (it left, or was refused), `GK_ERR_STATE` (it was let in already; stopped),
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_accept(gk_server *server, gk_peer peer);

/**
 * Refuses a client that waits for a decision: it is told to go, and no event follows. The peer is stale
 * from now on.
 *
 * - `code`: why, `GK_REFUSED_HOST` or more by custom; told to the client where its wire has room for it
 * - `text`: one sentence for a person, UTF-8; NULL is none
 *
 * Errors: as `gk_peer_accept`, and `GK_ERR_UTF8`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_peer_refuse(gk_server *server, gk_peer peer, gk_refusal code, const char *text);

/**
 * Sets how many packets beside the first carry a copy of every short message for a peer, before anybody knows of a loss, in the
 * place of what `gk_context_set_redundancy` said: for players on bad paths. Native wire; at a peer of the other it changes
 * nothing. A message's own redundancy counts where it is more. Messages that have left keep what they had.
 *
 * - `copies`: 0 to 4
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (more than 4), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_set_redundancy(gk_server *server,
                                 gk_peer peer,
                                 uint32_t copies);

/**
 * Sets the size and zeroes the rest.
 *
 * - `stats`: the struct
 * - `struct_size`: `sizeof(gk_peer_stats_t)`, so that a library with a longer struct does not write behind
 *   yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_peer_stats_init(gk_peer_stats_t *stats, size_t struct_size);

/**
 * Sets the size and zeroes the rest.
 *
 * - `stats`: the struct
 * - `struct_size`: `sizeof(gk_server_stats_t)`, so that a library with a longer struct does not write
 *   behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_server_stats_init(gk_server_stats_t *stats, size_t struct_size);

/**
 * Gives the counts of a peer.
 *
 * - `out`: with `struct_size` set, by `gk_peer_stats_init`; filled as far as that reaches
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_peer_stats(const gk_server *server, gk_peer peer, gk_peer_stats_t *out);

/**
 * Starts or ends keeping a per-second series for a peer, about 6 KB each.
 *
 * - `on`: 1 starts it (from empty, unless it is kept already), 0 (as at connect) ends and forgets it
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (`on`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_set_series(gk_server *server, gk_peer peer, uint32_t on);

/**
 * Gives the last 300 seconds of a peer, oldest first, the running one last; seconds before the series
 * started are 0.
 *
 * - `buf`: an array; may be NULL if `cap` is 0
 * - `cap`: how many it holds; 300 is enough
 * - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STATE` (no series kept: see `gk_peer_set_series`), `GK_ERR_STALE`,
 * `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the array stays the caller's.
 */
gk_result gk_peer_series(const gk_server *server,
                         gk_peer peer,
                         gk_second *buf,
                         size_t cap,
                         size_t *out_count);

/**
 * Gives the counts and times of the server.
 *
 * - `out`: with `struct_size` set, by `gk_server_stats_init`; filled as far as that reaches
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_server_stats(const gk_server *server, gk_server_stats_t *out);

/**
 * Gives the last 300 seconds of the server as a whole, oldest first, the running one last; seconds before
 * it started are 0.
 *
 * - `buf`: an array; may be NULL if `cap` is 0
 * - `cap`: how many it holds; 300 is enough
 * - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the array stays the caller's.
 */
gk_result gk_server_series(const gk_server *server, gk_second *buf, size_t cap, size_t *out_count);

/**
 * Gives where each of the last 300 seconds of the server's thread went, oldest first, the running one
 * last.
 *
 * - `buf`: an array; may be NULL if `cap` is 0
 * - `cap`: how many it holds; 300 is enough
 * - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the array stays the caller's.
 */
gk_result gk_server_profile_series(const gk_server *server,
                                   gk_profile_second *buf,
                                   size_t cap,
                                   size_t *out_count);

/**
 * Fills in size and defaults.
 *
 * - `options`: the struct
 * - `struct_size`: `sizeof(gk_stream_options)`, so that a library with a longer struct does not write behind
 *   yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_stream_options_init(gk_stream_options *options, size_t struct_size);

/**
 * Adds a door for streams (TCP) to the servers that are started with the context, beside the one for datagrams. A
 * connection is a peer like any other, of `GK_DOOR_STREAM`: same callbacks, same `gk_server_send`, block list, bounds,
 * statistics and access log. All messages arrive, in order, whatever their mode. With a password set, the first message
 * of each connection must be it. A server that was started keeps the doors that it has.
 *
 * - `address`: as `gk_server_start` takes it; port 0 lets the system choose one, see `gk_server_addresses`
 * - `framing`: how messages are told apart
 *
 * Errors: `GK_ERR_ARGUMENT` (framing; more than `GK_MAX_STREAM_DOORS`; not UTF-8), `GK_ERR_NULL`, `GK_ERR_PANIC`. Of the
 * start: `GK_ERR_ADDRESS`, `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO`, `GK_ERR_KEY` (a certificate), and `GK_ERR_ARGUMENT` where a password would be
 * taken in clear.
 *
 * Thread: any, one at a time per context.
 * Ownership: the address is copied.
 */
gk_result gk_context_listen_stream(gk_context *context,
                                   const char *address,
                                   gk_framing framing);

/**
 * The same with more to say of the door.
 *
 * - `address`, `framing`: as of `gk_context_listen_stream`
 * - `options`: NULL: the defaults
 *
 * Errors: as of `gk_context_listen_stream`, and `GK_ERR_ARGUMENT` (a value of the options).
 *
 * Thread: any, one at a time per context.
 * Ownership: all is copied.
 */
gk_result gk_context_listen_stream_with(gk_context *context,
                                        const char *address,
                                        gk_framing framing,
                                        const gk_stream_options *options);

/**
 * Has clients talk in a stream (TCP), with a server's door for streams or any other program that listens. Without
 * `gk_context_set_stream_tls` nothing of it is protected on its way, and nothing proves who the server is:
 * `gk_context_trust_any_server` is needed. A password is the first message. There is no join data, and the session's number is not
 * told. `gk_context_set_wire` takes it back.
 *
 * - `framing`: how messages are told apart, as at the server's door
 * - `options`: NULL: the defaults. Of a client's, `read_bytes`, `stall_timeout_us` and `password_in_clear` count; without that
 *   flag a password is told to a server on loopback, or one that TLS proves, and a session with another ends before. What
 *   is a door's (connections, certificate, private key) must have its default
 *
 * Errors: `GK_ERR_ARGUMENT` (framing, a value of the options, or one that is a door's), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: all is copied.
 */
gk_result gk_context_connect_stream(gk_context *context,
                                    gk_framing framing,
                                    const gk_stream_options *options);

/**
 * Gives the addresses that others can reach the server at, one a line: the door (`udp`, `tcp`, `http` or `https`), a blank, and
 * the address with the real port, as in `"udp 192.0.2.7:2021\ntcp 192.0.2.7:9000\nhttps 192.0.2.7:8443\n"`. Where a door takes
 * all interfaces, these are the ones that are up now, without loopback unless there is no other.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_addresses(const gk_server *server,
                              char *buf,
                              size_t cap,
                              size_t *out_len);

/**
 * Gives the address that a door for streams is bound to, with the real port.
 *
 * - `index`: which door, from 0, in the order of `gk_context_listen_stream`
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_ARGUMENT` (no such door), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_stream_address(const gk_server *server,
                                   size_t index,
                                   char *buf,
                                   size_t cap,
                                   size_t *out_len);

/**
 * Fills in size and defaults.
 *
 * - `tls`: the struct
 * - `struct_size`: `sizeof(gk_stream_tls)`, so that a library with a longer struct does not write behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_stream_tls_init(gk_stream_tls *tls,
                             size_t struct_size);

/**
 * Has clients that talk in a stream (`gk_context_connect_stream`, before or after this) speak TLS, and nothing else. A server
 * that is not to be believed ends the session with `GK_DISCONNECT_KEY`. `gk_context_trust_any_server` is not needed then. A password
 * is told to a server that has proved itself, wherever it is.
 *
 * - `tls`: whom to believe; NULL (the default): no TLS
 *
 * Errors: `GK_ERR_ARGUMENT` (a value of `tls`, or whom to believe is said not at all or twice), `GK_ERR_NULL`, `GK_ERR_PANIC`. Of a
 * client's start: `GK_ERR_KEY` (a file), `GK_ERR_ARGUMENT` (a name that no certificate can be for).
 *
 * Thread: any, one at a time per context.
 * Ownership: all is copied; the files are read when a client starts.
 */
gk_result gk_context_set_stream_tls(gk_context *context,
                                    const gk_stream_tls *tls);

/**
 * Opens a door for HTTP/1.1 and WebSockets, with TLS if a certificate and a key are given. A server can have 16. The
 * address is bound when the server starts, which fails if it cannot be, or if the files cannot be read. The files are
 * looked at again every two seconds: when they have changed, new connections get what stands in them, and those that are
 * open stay.
 *
 * - `address`: as `gk_server_start` takes it; port 0 lets the system choose, see `gk_server_http_address`
 * - `cert`: PEM file with the certificate and those that it is signed with; NULL: no TLS
 * - `key`: PEM file with its private key; NULL with `cert`
 *
 * Errors: `GK_ERR_ADDRESS`, `GK_ERR_ARGUMENT` (one of two files; a 17th door), `GK_ERR_UTF8`, `GK_ERR_NULL`,
 * `GK_ERR_PANIC`. Of `gk_server_start` besides: `GK_ERR_KEY` (the files), `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO`, and
 * `GK_ERR_ARGUMENT` where WebSockets would bring a password in clear.
 *
 * Thread: any, one at a time per context.
 * Ownership: the texts are copied.
 */
gk_result gk_context_listen_http(gk_context *context,
                                 const char *address,
                                 const char *cert,
                                 const char *key);

/**
 * Adds a route. The first route that fits a request's method and path answers it; if routes fit the path only, the answer is
 * 405, if none does, 404.
 *
 * - `method`: `"GET"` (which answers HEAD too), `"PUT"`, `"POST"` or `"DELETE"`
 * - `pattern`: components with a slash before each: literal ones, and names. `:name` stands for exactly one component,
 *   `:name?` for none or one, `:name+` for one or more, `:name*` for any number; at most one of the last three kinds. A
 *   slash at the end does not count.
 * - `function`: called for each request; NULL: each is a `GK_EVENT_REQUEST` with this `user_data` in the event queue,
 *   which the server must have then; a request for which that has no room is answered with 503
 * - `user_data`: passed to it
 *
 * Errors: `GK_ERR_ARGUMENT` (method, pattern, a 4097th route), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the texts are copied; what `user_data` points to stays the host's, and is used until shutdown.
 */
gk_result gk_context_route(gk_context *context,
                           const char *method,
                           const char *pattern,
                           gk_route_fn function,
                           void *user_data);

/**
 * Adds a route at which WebSockets open. One that is open is a peer like any other, by the door `GK_DOOR_WEBSOCKET`: connect,
 * message and disconnect come as for others, and `gk_server_send` sends. What it sends as text comes on the channel
 * `GK_WEBSOCKET_TEXT`, the rest on `GK_WEBSOCKET_BINARY`; what is sent to it on these channels leaves so.
 *
 * - `pattern`: as in `gk_context_route`
 * - `function`: called with the request that would open it: `gk_response_upgrade` opens it, `gk_response_send` refuses it;
 *   NULL: each is a `GK_EVENT_REQUEST` if there is an event queue, else all are opened
 * - `user_data`: passed to it
 *
 * Errors: as `gk_context_route`.
 *
 * Thread: any, one at a time per context.
 * Ownership: as `gk_context_route`.
 */
gk_result gk_context_route_websocket(gk_context *context,
                                     const char *pattern,
                                     gk_route_fn function,
                                     void *user_data);

/**
 * Adds a route that gives the files below a directory to GET. The file is what the pattern's last name stands for:
 * `"/static/:path*"`; where that is a directory, its `index.html`. Nothing outside of the directory is given, neither by
 * `..` nor by symbolic links, and no names that begin with a dot.
 *
 * - `pattern`: as in `gk_context_route`
 * - `directory`: looked at with each request
 *
 * Errors: as `gk_context_route`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the texts are copied.
 */
gk_result gk_context_route_files(gk_context *context,
                                 const char *pattern,
                                 const char *directory);

/**
 * Takes all HTTP doors and routes out of a context again, for one that several servers with doors of their own are made
 * from. Bounds and times stay, but the longest body and the door of the routes that follow, which are the defaults again, and
 * no password in clear.
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_clear_http(gk_context *context);

/**
 * Sets the longest body of a request, of the routes that are added from now on. A longer one is answered with 413; of a
 * compressed one, what comes out counts, and what comes in may be an eighth and 64 KiB more.
 *
 * - `bytes`: default 5,242,880 (5 MiB), range 0 to 1,073,741,824 (1 GiB)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_max_body(gk_context *context,
                                       size_t bytes);

/**
 * Sets the HTTP door that routes are for which are added from now on. At any other door there is no such route.
 *
 * - `door`: which door, from 0, in the order of `gk_context_listen_http`; `GK_HTTP_ALL_DOORS`, the default: every one
 *
 * Errors: `GK_ERR_ARGUMENT` (no such door yet), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_route_door(gk_context *context,
                                         uint32_t door);

/**
 * Sets how many HTTP connections can be open; further ones are closed at once.
 *
 * - `count`: default 4096, range 1 to 1,000,000
 * - `per_source`: of one IPv4 address or IPv6 /64; default 1024, range 1 to 1,000,000. Behind a proxy all come from one.
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_max_connections(gk_context *context,
                                              uint32_t count,
                                              uint32_t per_source);

/**
 * Sets how many requests can wait for the host's answer; further ones are answered with 503.
 *
 * - `count`: default 1024, range 1 to 65,536
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_max_requests(gk_context *context, uint32_t count);

/**
 * Sets how many bytes the bodies of all requests can have that are being read or wait for an answer; a request that would go
 * beyond it is answered with 503. All answers that wait for their clients to read them can have as many again; beyond it those
 * clients are cut off that were waited for longest, for two seconds at least, and where there are none the answer is a
 * 503. An answer that is longer than all may be has room alone.
 *
 * - `bytes`: default 268,435,456 (256 MiB), range 65,536 (64 KiB) to 64 GiB
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_max_body_bytes(gk_context *context,
                                             size_t bytes);

/**
 * Sets after how long a request that the host has not answered is answered with 504.
 *
 * - `microseconds`: default 30,000,000 (30 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_request_timeout_us(gk_context *context, uint64_t microseconds);

/**
 * Sets how long a client may take for the head of a request, counted from the opening of the connection or the answer
 * before; so also how long a connection may rest between two requests.
 *
 * - `microseconds`: default 15,000,000 (15 s), range 100,000 (0.1 s) to 3,600,000,000 (1 h)
 *
 * Errors: `GK_ERR_ARGUMENT` (out of range), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_head_timeout_us(gk_context *context,
                                              uint64_t microseconds);

/**
 * Sets whether WebSockets may bring the server's password also where others can read it on the way: without TLS and not on
 * loopback. It counts for doors that are added from now on. Without it a server that has a password, a route of WebSockets and
 * such a door does not start.
 *
 * - `on`: 1: they may; 0, the default: they may not
 *
 * Errors: `GK_ERR_ARGUMENT` (neither 0 nor 1), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_http_password_in_clear(gk_context *context,
                                                uint32_t on);

/**
 * Gives the address that an HTTP door is bound to, with the real port.
 *
 * - `index`: which door, from 0, in the order of `gk_context_listen_http`
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_ARGUMENT` (no such door), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_http_address(const gk_server *server,
                                 size_t index,
                                 char *buf,
                                 size_t cap,
                                 size_t *out_len);

/**
 * Gives a request's method: `"GET"`, `"HEAD"`, `"PUT"`, `"POST"` or `"DELETE"`.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (no HTTP door), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_method(const gk_server *server,
                            gk_request request,
                            char *buf,
                            size_t cap,
                            size_t *out_len);

/**
 * Gives a request's path as it was sent, percent-encoded, without its query.
 *
 * - `buf`, `cap`, `out_len`: as in `gk_request_method`
 *
 * Errors: as `gk_request_method`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_path(const gk_server *server,
                          gk_request request,
                          char *buf,
                          size_t cap,
                          size_t *out_len);

/**
 * Gives what stands behind the `?` of a request's path, as it was sent; "" if nothing does.
 *
 * - `buf`, `cap`, `out_len`: as in `gk_request_method`
 *
 * Errors: as `gk_request_method`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_query_string(const gk_server *server,
                                  gk_request request,
                                  char *buf,
                                  size_t cap,
                                  size_t *out_len);

/**
 * Gives what a name of the route's pattern stands for in a request's path: decoded, several components with slashes
 * between.
 *
 * - `name`: without its colon
 * - `buf`, `cap`, `out_len`: as in `gk_request_method`
 *
 * Errors: as `gk_request_method`, and `GK_ERR_ARGUMENT` (the pattern has no such name, or it stands for nothing here),
 * `GK_ERR_UTF8`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_param(const gk_server *server,
                           gk_request request,
                           const char *name,
                           char *buf,
                           size_t cap,
                           size_t *out_len);

/**
 * Gives the first value of a parameter of a request's query, decoded; "" for one without a value.
 *
 * - `name`: which
 * - `buf`, `cap`, `out_len`: as in `gk_request_method`
 *
 * Errors: as `gk_request_method`, and `GK_ERR_ARGUMENT` (there is none), `GK_ERR_UTF8`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_query(const gk_server *server,
                           gk_request request,
                           const char *name,
                           char *buf,
                           size_t cap,
                           size_t *out_len);

/**
 * Gives the value of a request's header; several of one name are joined by `", "`. Bytes that are not UTF-8 become U+FFFD.
 *
 * - `name`: in any case
 * - `buf`, `cap`, `out_len`: as in `gk_request_method`
 *
 * Errors: as `gk_request_method`, and `GK_ERR_ARGUMENT` (there is none), `GK_ERR_UTF8`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_header(const gk_server *server,
                            gk_request request,
                            const char *name,
                            char *buf,
                            size_t cap,
                            size_t *out_len);

/**
 * Gives all headers of a request, in order: `name: value`, each with a line end `"\n"`, names in lower case. The bytes are as
 * they came, which need not be UTF-8; there is no NUL behind them.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes
 * - `out_len`: how many; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: as `gk_request_method`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_request_headers(const gk_server *server,
                             gk_request request,
                             uint8_t *buf,
                             size_t cap,
                             size_t *out_len);

/**
 * Gives a request's body, decompressed.
 *
 * - `buf`, `cap`, `out_len`: as in `gk_request_headers`
 *
 * Errors: as `gk_request_method`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_request_body(const gk_server *server,
                          gk_request request,
                          uint8_t *buf,
                          size_t cap,
                          size_t *out_len);

/**
 * Gives where a request came from: `"192.0.2.1:50000"` or `"[2001:db8::1]:50000"`.
 *
 * - `buf`, `cap`, `out_len`: as in `gk_request_method`
 *
 * Errors: as `gk_request_method`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_request_address(const gk_server *server,
                             gk_request request,
                             char *buf,
                             size_t cap,
                             size_t *out_len);

/**
 * Tells whether a request came over TLS.
 *
 * - `out`: 1 if so, else 0
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (no HTTP door), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_request_is_secure(const gk_server *server, gk_request request, uint32_t *out);

/**
 * Adds a header to the answer of a request. `Connection`, `Content-Length`, `Date`, `Transfer-Encoding` and the like are
 * the library's to set.
 *
 * - `name`, `value`: UTF-8 without control characters
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (a name or value that is none, or the library's), `GK_ERR_WOULD_BLOCK` (the answer
 * has 64), `GK_ERR_STATE` (no HTTP door), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the texts are copied.
 */
gk_result gk_response_header(gk_server *server,
                             gk_request request,
                             const char *name,
                             const char *value);

/**
 * Takes all headers of a request's answer back, for a host that has to answer something else than it thought.
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (no HTTP door), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_response_clear(gk_server *server, gk_request request);

/**
 * Answers a request, which is stale from then on. What is text, JSON or the like by its `Content-Type` header is compressed
 * where the client accepts that and it is worth it.
 *
 * - `status`: 200 to 599
 * - `body`: may be NULL if `len` is 0
 * - `len`: how many bytes
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (the status; the request waits on), `GK_ERR_STATE` (no HTTP door), `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied.
 */
gk_result gk_response_send(gk_server *server,
                           gk_request request,
                           uint32_t status,
                           const uint8_t *body,
                           size_t len);

/**
 * Opens the WebSocket that a request at a route of WebSockets asks for: its connect event follows, from the server's thread.
 * The request answers questions as long as the WebSocket is open. To refuse it, answer with `gk_response_send`.
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (a route that opens none; no HTTP door), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_response_upgrade(gk_server *server,
                              gk_request request);

/**
 * Gives the request that opened the WebSocket of a peer.
 *
 * - `out`: the request, which is stale when the WebSocket has closed; `GK_REQUEST_NONE` if the peer is no WebSocket, or
 *   4096 others have closed since it did
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_peer_request(const gk_server *server,
                          gk_peer peer,
                          gk_request *out);

/**
 * Sets where a server shows what it does, by HTTP and in any browser: one page with live figures of the last five minutes
 * (packets, where the time goes, ticks, traffic, latency, loss), all peers, with which it can be parted from there, and the
 * log. Beside the page, `/`, there are `/stats.json`, `/peers.json`, and `/metrics` in Prometheus' text format.
 *
 * The server is read once a second, however many look, and a thread of its own answers. A server without a dashboard has
 * no such thread.
 *
 * Without a token (`gk_context_set_dashboard_token`) only an address of the loopback is taken, and requests are only
 * answered under a name of the loopback; any other address needs a token. The door speaks no TLS: beyond a network that you
 * trust, put a proxy that does in front of it, and let it hand on the `Host` that it was asked for: without it the page shows
 * figures, and its actions are refused. One source has up to 64 of the 256 connections.
 *
 * - `address`: as `gk_server_start` takes it, such as `"127.0.0.1:8080"`; port 0 lets the system choose, see
 *   `gk_server_dashboard_address`; NULL (the default): no dashboard. The address is bound when the server starts, which
 *   fails if it cannot be.
 *
 * Errors: `GK_ERR_ADDRESS`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`. Of `gk_server_start` besides:
 * `GK_ERR_ARGUMENT` (an address that is not of the loopback, and no token), `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the text is copied.
 */
gk_result gk_context_set_dashboard(gk_context *context,
                                   const char *address);

/**
 * Sets what who looks at the dashboard must know. The page asks for it; programs send it as `Authorization: Bearer …`, as
 * Prometheus does with `credentials`; behind the page's address, as `#token=…`, it never leaves the browser. It is compared in
 * the same time whatever is guessed, and kept as a digest.
 *
 * - `token`: 16 to 256 characters, printable ASCII without blanks; NULL (the default): none
 *
 * Errors: `GK_ERR_ARGUMENT` (its length or its characters), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: only a digest of the text is kept.
 */
gk_result gk_context_set_dashboard_token(gk_context *context,
                                         const char *token);

/**
 * Gives the address that the dashboard is bound to, with the real port.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STATE` (the server has none, or has stopped), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_dashboard_address(const gk_server *server,
                                      char *buf,
                                      size_t cap,
                                      size_t *out_len);

/**
 * Sets what is called when an address is tried; see `gk_client_connecting_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_connecting(gk_context *context,
                                          gk_client_connecting_fn function,
                                          void *user_data);

/**
 * Sets what is called when messages flow; see `gk_client_connect_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_connect(gk_context *context, gk_client_connect_fn function, void *user_data);

/**
 * Sets what is called when a session ended; see `gk_client_disconnect_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_disconnect(gk_context *context,
                                          gk_client_disconnect_fn function,
                                          void *user_data);

/**
 * Sets what is called when a message arrived; see `gk_client_message_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_message(gk_context *context, gk_client_message_fn function, void *user_data);

/**
 * Sets what is called once per tick; see `gk_client_update_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_update(gk_context *context, gk_client_update_fn function, void *user_data);

/**
 * Sets what is called when a full queue has room again; see `gk_client_writable_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_writable(gk_context *context, gk_client_writable_fn function, void *user_data);

/**
 * Sets what is called when the client has stopped; see `gk_client_shutdown_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_shutdown(gk_context *context, gk_client_shutdown_fn function, void *user_data);

/**
 * Sets what is called with lines for the log; see `gk_client_log_fn`.
 *
 * - `function`: NULL removes it; then the event goes to the event queue if there is one
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_log(gk_context *context, gk_client_log_fn function, void *user_data);

/**
 * Sets how clients talk in datagrams; servers understand all wires. For streams there is
 * `gk_context_connect_stream`.
 *
 * - `wire`: `GK_WIRE_NATIVE` (the default) or `GK_WIRE_MPGAMESERVER`
 *
 * Errors: `GK_ERR_ARGUMENT` (another), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_set_wire(gk_context *context, gk_wire wire);

/**
 * Has clients of the native wire believe a server that has the private part of this key, and no other.
 *
 * - `key`, `len`: the server's X25519 public key, 32 bytes
 *
 * Errors: `GK_ERR_KEY` (`len`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the bytes are copied.
 */
gk_result gk_context_pin_native_key(gk_context *context, const uint8_t *key, size_t len);

/**
 * Has clients of mpgameserver's wire believe a server that has the private part of this root key, and no other.
 *
 * - `der`, `len`: the public part, SubjectPublicKeyInfo, as `gk_key_public_der` or
 *   `gk_server_public_key_der` gives it
 *
 * Errors: `GK_ERR_KEY`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the bytes are copied.
 */
gk_result gk_context_pin_root_key(gk_context *context,
                                  const uint8_t *der,
                                  size_t len);

/**
 * Has clients believe whoever answers, and forgets pinned keys. Nobody on the way can read what is sent then, but
 * who reads it at its end is not known: for development, or where something else tells.
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: nothing is passed.
 */
gk_result gk_context_trust_any_server(gk_context *context);

/**
 * Sets what the server's host gets to see before it lets a client in: a name, a ticket. Native wire only: with
 * the other one a client with join data does not start.
 *
 * - `data`, `len`: the bytes, at most 768; may be NULL with 0 (the default)
 *
 * Errors: `GK_ERR_ARGUMENT` (`len`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the bytes are copied.
 */
gk_result gk_context_set_join_data(gk_context *context,
                                   const uint8_t *data,
                                   size_t len);

/**
 * Starts to connect to a server, and runs the client on a thread of its own, which all callbacks come from. That the
 * server cannot be reached is told by the disconnect event.
 *
 * - `context`: copied; it says whom to believe
 * - `address`: `"example.org:2021"`, `"192.0.2.1:2021"`, `"[2001:db8::1]:2021"`. A name is looked up in the background,
 *   and its addresses are tried in turn
 * - `out`: the client. Callbacks can come before it is written; they get it as their argument.
 *
 * Errors: `GK_ERR_KEY` (nothing says whom to believe, or no key for the wire), `GK_ERR_ADDRESS`, `GK_ERR_ARGUMENT` (the
 * wire cannot carry join data or password), `GK_ERR_IO` (socket, thread), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, while nobody changes the context.
 * Ownership: the client is the caller's, to be ended with `gk_client_free`; context and address stay the
 * caller's.
 */
gk_result gk_client_start(const gk_context *context,
                          const char *address,
                          gk_client **out);

/**
 * Starts to connect, for a client that the host runs with `gk_client_poll`, from its own main loop. All callbacks come
 * from inside that call, and from inside `gk_client_disconnect_wait`, `gk_client_stop` and `gk_client_free` where these
 * have to run the client. Nothing happens between polls: poll at least a few times per second. It costs no thread and a
 * few kilobytes.
 *
 * - the parameters are those of `gk_client_start`
 *
 * Errors: as `gk_client_start`.
 *
 * Thread: any, while nobody changes the context.
 * Ownership: as `gk_client_start`.
 */
gk_result gk_client_open(const gk_context *context,
                         const char *address,
                         gk_client **out);

/**
 * Runs the client: reads what came, calls back, ticks, writes. If there is nothing to do it waits for
 * something first.
 *
 * - `timeout_us`: waits at most so many microseconds; 0 does not wait, and costs one system call where nothing
 *   is due; `GK_FOREVER` waits until something happened
 *
 * Errors: `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another thread is in it), `GK_ERR_STATE`
 * (stopped, being stopped by another thread, or made by `gk_client_start`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 * That nothing happened is no error.
 *
 * Thread: any, one at a time; best always the same. Callbacks come from it.
 * Ownership: nothing is passed.
 */
gk_result gk_client_poll(gk_client *client,
                         uint64_t timeout_us);

/**
 * Makes a `gk_client_poll` that waits return; if none waits, the next one returns at once.
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_wake(gk_client *client);

/**
 * Gives a descriptor that becomes readable when `gk_client_poll` has something to do (unix). Wait for it no longer
 * than `gk_client_next_timeout_us` says, then poll with timeout 0. It is only good for waiting.
 *
 * - `out`: the descriptor
 *
 * Errors: `GK_ERR_STATE` (a system without descriptors), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the descriptor is the client's; do not close it. It is valid until `gk_client_free`.
 */
gk_result gk_client_descriptor(const gk_client *client,
                               int32_t *out);

/**
 * Gives the time until `gk_client_poll` has something to do even if nothing arrives.
 *
 * - `out`: microseconds from now, rounded up; 0: it is due; `GK_FOREVER`: nothing is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_next_timeout_us(const gk_client *client, uint64_t *out);

/**
 * Takes up to `max` events out of the client's queue, oldest first. The queue holds the events for which
 * no callback is set; it exists only if `gk_context_set_max_queued_events` made it. The last event is
 * `GK_EVENT_SHUTDOWN`.
 *
 * - `events`: an array of `max` elements, which need no initialisation; may be NULL if `max` is 0
 * - `event_size`: `sizeof(gk_event)`
 * - `max`: how many at most
 * - `out_count`: how many were written; 0 if nothing happened
 *
 * Errors: `GK_ERR_STATE` (no event queue), `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another
 * thread is in it), `GK_ERR_ARGUMENT` (`event_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`. The batch before is
 * kept when the call fails.
 *
 * Thread: any, one at a time.
 * Ownership: what the events point to belongs to the client and lives until the next call that succeeds,
 * or `gk_client_free`.
 */
gk_result gk_client_next_events(gk_client *client,
                                gk_event *events,
                                size_t event_size,
                                size_t max,
                                size_t *out_count);

/**
 * Stops the client: ends the session at once and reports it, says goodbye, and calls shutdown last. From inside a
 * callback it takes effect when the callback has returned; from outside it returns when all that is done, after 0.2 s at
 * most. A second stop does nothing more.
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any. If nobody polls a client made by `gk_client_open`, the last callbacks come from here.
 * Ownership: the client stays the caller's, and answers questions until `gk_client_free`.
 */
gk_result gk_client_stop(gk_client *client);

/**
 * Waits until the client has stopped. It does not stop it.
 *
 * - `timeout_us`: waits at most so many microseconds; 0 only asks; `GK_FOREVER`: without limit
 *
 * Errors: `GK_ERR_TIMEOUT`, `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any but the client's own; a client made by `gk_client_open` needs another thread that polls it.
 * Ownership: nothing is passed.
 */
gk_result gk_client_wait(gk_client *client, uint64_t timeout_us);

/**
 * Tells whether the client has stopped.
 *
 * - `out`: 1 when its last callback has returned, else 0
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_is_stopped(const gk_client *client, uint32_t *out);

/**
 * Stops the client as `gk_client_stop` does, and gives it back. From inside one of the client's own
 * callbacks it returns at once: the stop takes effect when the callback has returned, and the callbacks
 * that stopping makes still come, with the same pointer, which is good inside them only.
 *
 * - `client`: may be NULL
 *
 * Thread: any. No other thread may call with this pointer from now on; calls of `gk_client_poll`,
 * `gk_client_wait` and `gk_client_disconnect_wait` that wait in other threads return.
 * Ownership: ends the caller's; what `gk_client_next_events` handed out ends with it.
 */
void gk_client_free(gk_client *client);

/**
 * Queues a message for the server.
 *
 * - `data`, `len`: the bytes; may be NULL with 0: an empty message is one
 * - `options`: NULL sends it once, without asking what became of it
 *
 * Errors, after which nothing is queued and `on_sent` is not called: `GK_ERR_STATE` (not connected, stopped, or
 * `notify` without an event queue), `GK_ERR_WOULD_BLOCK` (the queue is full: `writable` will tell; or with `notify` the
 * event queue is: take events first), `GK_ERR_TOO_LARGE`, `GK_ERR_ARGUMENT` (`options`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the bytes are copied; `options->user_data` stays the host's and must live until `on_sent`.
 */
gk_result gk_client_send(gk_client *client,
                         const uint8_t *data,
                         size_t len,
                         const gk_send_options *options);

/**
 * Queues a message for the server that is sent again until it is acknowledged: it arrives exactly once if the
 * session lives. The same as `gk_client_send` with `GK_RETRY_ON_TIMEOUT`.
 *
 * - `data`, `len`: the bytes; may be NULL with 0
 * - `on_sent`: told once what became of it, with NULL for the server and `GK_PEER_NONE`; may be NULL
 * - `user_data`: passed to `on_sent`
 *
 * Errors: as `gk_client_send`.
 *
 * Thread: any.
 * Ownership: the bytes are copied; `user_data` stays the host's and must live until `on_sent`.
 */
gk_result gk_client_send_guaranteed(gk_client *client,
                                    const uint8_t *data,
                                    size_t len,
                                    gk_sent_fn on_sent,
                                    void *user_data);

/**
 * Ends the session at once; what is queued is cancelled. The disconnect event follows. Without a session it does
 * nothing.
 *
 * Errors: `GK_ERR_STATE` (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_disconnect(gk_client *client);

/**
 * Ends the session when what is queued is acknowledged, and waits until the server has heard the goodbye too, or it was
 * said as often as the wire has it. When the time is over the session ends at once.
 *
 * - `timeout_us`: waits at most so many microseconds
 *
 * Errors: `GK_ERR_TIMEOUT` (not all was delivered, or the goodbye was not heard), `GK_ERR_REENTRANT` (inside a
 * callback), `GK_ERR_STATE` (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any but the client's own. If nobody polls a client made by `gk_client_open`, its callbacks come from here.
 * Ownership: nothing is passed.
 */
gk_result gk_client_disconnect_wait(gk_client *client,
                                    uint64_t timeout_us);

/**
 * Begins a new session with the same server and configuration; a host name is looked up again. A session that is under
 * way ends at once.
 *
 * Errors: `GK_ERR_STATE` (stopped, or being stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_reconnect(gk_client *client);

/**
 * Gives where the session stands.
 *
 * - `out`: one of `GK_STATUS_…`
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_status(const gk_client *client, gk_status *out);

/**
 * Gives the smoothed time that a message takes one way: half of what an acknowledgement takes.
 *
 * - `out`: microseconds; 0 if nothing was measured yet
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_latency_us(const gk_client *client, uint64_t *out);

/**
 * Gives the server's clock, as this end estimates it from what the server tells.
 *
 * - `out`: microseconds since the server started
 *
 * Errors: `GK_ERR_STATE` (the server was not heard yet, or is on mpgameserver's wire, which does not tell),
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_server_clock_us(const gk_client *client, uint64_t *out);

/**
 * Gives the server's tick, as this end estimates it, with the part of the next one that has passed.
 *
 * - `out`: ticks since the server started
 *
 * Errors: as `gk_client_server_clock_us`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_server_tick(const gk_client *client, double *out);

/**
 * Lets the client's datagrams of one direction pass a bad network from now on. What is under way when
 * conditions change or end arrives as it would have.
 *
 * - `direction`: one of `GK_DIRECTION_…`
 * - `conditions`: what it does; NULL ends it
 *
 * Errors: `GK_ERR_ARGUMENT` (`direction`, or a value of `conditions`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct is copied.
 */
gk_result gk_client_simulate(gk_client *client, gk_direction direction, const gk_conditions *conditions);

/**
 * Gives how many bytes of message are queued and not yet acknowledged.
 *
 * - `out`: bytes
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_queued_bytes(const gk_client *client, size_t *out);

/**
 * Gives the public number of the session, as the server knows it.
 *
 * - `out`: the number; 0 before it is known
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_token(const gk_client *client, uint32_t *out);

/**
 * Gives the counts of the session, or of the last one.
 *
 * - `out`: with `struct_size` set, by `gk_peer_stats_init`; filled as far as that reaches
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_client_stats(const gk_client *client, gk_peer_stats_t *out);

/**
 * Gives the last 300 seconds of the client, all of its sessions together, oldest first, the running one last; seconds
 * before it started are 0. Of received datagrams those count that were taken.
 *
 * - `buf`: an array; may be NULL if `cap` is 0
 * - `cap`: how many it holds; 300 is enough
 * - `out_count`: how many there are; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the array stays the caller's.
 */
gk_result gk_client_series(const gk_client *client,
                           gk_second *buf,
                           size_t cap,
                           size_t *out_count);

/**
 * Gives the address of the server that is being tried, or was reached last.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STATE` (its name is being looked up), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_client_server_address(const gk_client *client,
                                   char *buf,
                                   size_t cap,
                                   size_t *out_len);

/**
 * Gives the address that the client's socket is bound to: all interfaces, with the port that the system chose.
 *
 * - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 64 is enough for all
 * - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_client_local_address(const gk_client *client,
                                  char *buf,
                                  size_t cap,
                                  size_t *out_len);

/**
 * Gives the X25519 public key that the server has proved to have in this session, for instance to pin it from now on.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 32 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STATE` (not connected yet, or the wire does not tell), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_client_server_native_key(const gk_client *client,
                                      uint8_t *buf,
                                      size_t cap,
                                      size_t *out_len);

/**
 * Gives the root key that the server has proved to have in this session on mpgameserver's wire: the pinned one.
 *
 * - `buf`: gets the bytes; may be NULL if `cap` is 0
 * - `cap`: size of `buf` in bytes; 91 is enough
 * - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
 *
 * Errors: `GK_ERR_STATE` (not connected yet, or the wire does not tell), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: copied.
 */
gk_result gk_client_server_root_key_der(const gk_client *client,
                                        uint8_t *buf,
                                        size_t cap,
                                        size_t *out_len);

/**
 * Fills in size and defaults.
 *
 * - `conditions`: the struct
 * - `struct_size`: `sizeof(gk_conditions)`, so that a library with a longer struct does not write behind
 *   yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_conditions_init(gk_conditions *conditions, size_t struct_size);

/**
 * Lets the datagrams of one direction pass a bad network from now on: those of all peers without conditions
 * of their own, and of strangers. They all share one link, and its rate. What is under way when
 * conditions change or end arrives as it would have.
 *
 * - `direction`: one of `GK_DIRECTION_…`
 * - `conditions`: what it does; NULL ends it
 *
 * Errors: `GK_ERR_ARGUMENT` (`direction`, or a value of `conditions`), `GK_ERR_STATE` (stopped),
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct is copied.
 */
gk_result gk_server_simulate(gk_server *server, gk_direction direction, const gk_conditions *conditions);

/**
 * Gives a peer a bad network of its own in one direction, in the place of that of `gk_server_simulate`;
 * conditions that do nothing keep that one away from it.
 *
 * - `direction`: one of `GK_DIRECTION_…`
 * - `conditions`: what it does; NULL: the server's hold for this peer again
 *
 * Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (`direction`, or a value of `conditions`), `GK_ERR_STATE`
 * (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct is copied.
 */
gk_result gk_server_simulate_peer(gk_server *server,
                                  gk_peer peer,
                                  gk_direction direction,
                                  const gk_conditions *conditions);

/**
 * Looks for servers, and waits for answers: on each port at all machines of the local network (IPv4: broadcast; IPv6: the
 * group `ff02::1` on each of the first 32 interfaces that have IPv6) and at this one, and at each address. A server answers
 * if it has discovery info (`gk_context_set_discovery_info`); by IPv6 one that listens on all interfaces. It ends early if
 * no port was given and all addresses have answered.
 *
 * - `ports`, `port_count`: at most `GK_DISCOVERY_MAX_PORTS`; may be NULL with 0
 * - `addresses`, `address_count`: `"192.0.2.1:2021"`, `"[2001:db8::1]:2021"`, numbers only; at most
 *   `GK_DISCOVERY_MAX_ADDRESSES`; may be NULL with 0
 * - `timeout_us`: how long to wait, at most 60,000,000 (60 s)
 * - `function`: called for each server; may be NULL
 * - `user_data`: passed to each call as it is
 * - `out_count`: how many were found, at most 256; may be NULL
 *
 * Errors: `GK_ERR_ARGUMENT` (too many, none at all, port 0, the time), `GK_ERR_ADDRESS`,
 * `GK_ERR_IO`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`. That nobody answered is no error.
 *
 * Thread: any; it waits in this call.
 * Ownership: arrays and texts are copied; `user_data` stays the host's.
 */
gk_result gk_client_discover(const uint16_t *ports,
                             size_t port_count,
                             const char *const *addresses,
                             size_t address_count,
                             uint64_t timeout_us,
                             gk_found_fn function,
                             void *user_data,
                             size_t *out_count);

/**
 * Fills in size and defaults.
 *
 * - `quota`: the struct
 * - `struct_size`: `sizeof(gk_file_quota)`, so that a library with a longer struct does not write behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_file_quota_init(gk_file_quota *quota,
                             size_t struct_size);

/**
 * Fills in size and defaults.
 *
 * - `target`: the struct
 * - `struct_size`: `sizeof(gk_file_target)`, so that a library with a longer struct does not write behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_file_target_init(gk_file_target *target,
                              size_t struct_size);

/**
 * Fills in size and defaults.
 *
 * - `options`: the struct
 * - `struct_size`: `sizeof(gk_file_options)`, so that a library with a longer struct does not write behind yours
 *
 * Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_file_options_init(gk_file_options *options,
                               size_t struct_size);

/**
 * Lets files be sent and received, by servers and clients, on the native wire. Both ends must allow it. For streams see
 * `gk_context_listen_stream_files` and `gk_context_connect_stream_files`.
 *
 * - `quota`: how much is received; NULL (the default): files are not allowed
 *
 * Errors: `GK_ERR_ARGUMENT` (`quota`; a longest message below 32,781 bytes; NULL while a door for streams has files),
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: the struct stays the caller's.
 */
gk_result gk_context_set_files(gk_context *context,
                               const gk_file_quota *quota);

/**
 * Sets what is called about files of servers; see `gk_file_offer_fn`, `gk_file_progress_fn`, `gk_file_end_fn`. Files that were
 * sent with an `on_done` or `on_progress` of their own are not told of here.
 *
 * - `offer`, `progress`, `end`: each may be NULL. All NULL: the events go to the event queue if there is one. With another
 *   one set and no `offer` all offers are refused
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
 * with this context. Servers that run already keep what they copied.
 */
gk_result gk_context_on_file(gk_context *context,
                             gk_file_offer_fn offer,
                             gk_file_progress_fn progress,
                             gk_file_end_fn end,
                             void *user_data);

/**
 * Sets what is called about files of clients; see `gk_client_file_offer_fn`, `gk_file_progress_fn`, `gk_file_end_fn`. Files that
 * were sent with an `on_done` or `on_progress` of their own are not told of here.
 *
 * - `offer`, `progress`, `end`: each may be NULL. All NULL: the events go to the event queue if there is one. With another
 *   one set and no `offer` all offers are refused
 * - `user_data`: passed to each call as it is
 *
 * Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any, one at a time per context.
 * Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
 * with this context. Clients that run already keep what they copied.
 */
gk_result gk_context_on_client_file(gk_context *context,
                                    gk_client_file_offer_fn offer,
                                    gk_file_progress_fn progress,
                                    gk_file_end_fn end,
                                    void *user_data);

/**
 * Sends a file to a peer: it is hashed, offered, and flows beside everything else, when nothing else waits. Files beyond four
 * to one peer wait. When the connection breaks, sending it again goes on where it left off.
 *
 * - `path`: the file; it must not change before the end
 * - `options`: name and progress; may be NULL
 * - `on_done`: told once how it ended, with the `user_data` of the options; may be NULL: who `gk_context_on_file` says is told
 * - `out_file`: its number; may be NULL
 *
 * Errors, after which `on_done` is not called: `GK_ERR_STALE`, `GK_ERR_STATE` (files are not enabled at one of the two ends, or
 * the peer is on mpgameserver's wire; stopped), `GK_ERR_WOULD_BLOCK` (1024 wait), `GK_ERR_ARGUMENT` (`options`),
 * `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`. That it cannot be read is told to `on_done`.
 *
 * Thread: any.
 * Ownership: texts are copied; `options->user_data` stays the host's and must live until `on_done`.
 */
gk_result gk_server_send_file(gk_server *server,
                              gk_peer peer,
                              const char *path,
                              const gk_file_options *options,
                              gk_file_end_fn on_done,
                              gk_file *out_file);

/**
 * Sends a file to the server: it is hashed, offered, and flows beside everything else, when nothing else waits. Files beyond
 * four wait. When the connection breaks, sending it again in another session goes on where it left off.
 *
 * - `path`: the file; it must not change before the end
 * - `options`: name and progress; may be NULL
 * - `on_done`: told once how it ended, with the `user_data` of the options; may be NULL: who `gk_context_on_client_file` says
 *   is told
 * - `out_file`: its number; may be NULL
 *
 * Errors, after which `on_done` is not called: `GK_ERR_STATE` (not connected; files are not enabled at one of the two ends, or
 * the wire is mpgameserver's), `GK_ERR_WOULD_BLOCK` (1024 wait), `GK_ERR_ARGUMENT` (`options`), `GK_ERR_UTF8`, `GK_ERR_NULL`,
 * `GK_ERR_PANIC`. That it cannot be read is told to `on_done`.
 *
 * Thread: any.
 * Ownership: texts are copied; `options->user_data` stays the host's and must live until `on_done`.
 */
gk_result gk_client_send_file(gk_client *client,
                              const char *path,
                              const gk_file_options *options,
                              gk_file_end_fn on_done,
                              gk_file *out_file);

/**
 * Takes a file that a peer offered. What does not work later is told when it ends: a directory that does not exist, a quota.
 *
 * - `file`: the number of the offer
 * - `target`: where it goes
 *
 * Errors: `GK_ERR_STALE` (peer or file are gone, or it was decided), `GK_ERR_STATE`, `GK_ERR_ARGUMENT` (`target`),
 * `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: texts are copied.
 */
gk_result gk_server_accept_file(gk_server *server,
                                gk_peer peer,
                                gk_file file,
                                const gk_file_target *target);

/**
 * Does not take a file that a peer offered; no further callback about it follows.
 *
 * - `file`: the number of the offer
 * - `why`: for the peer's host, at most 255 bytes; may be NULL
 *
 * Errors: `GK_ERR_STALE` (peer or file are gone, or it was decided), `GK_ERR_STATE`, `GK_ERR_UTF8`, `GK_ERR_NULL`,
 * `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_server_refuse_file(gk_server *server,
                                gk_peer peer,
                                gk_file file,
                                const char *why);

/**
 * Gives up a file, either way: what was received of it is removed, and both hosts are told that it ended.
 *
 * - `file`: its number
 *
 * Errors: `GK_ERR_STALE` (peer or file are gone), `GK_ERR_STATE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_server_cancel_file(gk_server *server, gk_peer peer, gk_file file);

/**
 * Takes a file that the server offered. What does not work later is told when it ends: a directory that does not exist, a quota.
 *
 * - `file`: the number of the offer
 * - `target`: where it goes
 *
 * Errors: `GK_ERR_STALE` (it is gone, or was decided), `GK_ERR_STATE`, `GK_ERR_ARGUMENT` (`target`), `GK_ERR_UTF8`,
 * `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: texts are copied.
 */
gk_result gk_client_accept_file(gk_client *client,
                                gk_file file,
                                const gk_file_target *target);

/**
 * Does not take a file that the server offered; no further callback about it follows.
 *
 * - `file`: the number of the offer
 * - `why`: for the server's host, at most 255 bytes; may be NULL
 *
 * Errors: `GK_ERR_STALE` (it is gone, or was decided), `GK_ERR_STATE`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: the text is copied.
 */
gk_result gk_client_refuse_file(gk_client *client,
                                gk_file file,
                                const char *why);

/**
 * Gives up a file, either way: what was received of it is removed, and both hosts are told that it ended.
 *
 * - `file`: its number
 *
 * Errors: `GK_ERR_STALE` (it is gone), `GK_ERR_STATE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
 *
 * Thread: any.
 * Ownership: nothing is passed.
 */
gk_result gk_client_cancel_file(gk_client *client, gk_file file);

/**
 * Adds a door for streams as `gk_context_listen_stream_with` does, through which files come, too. With `GK_FRAMING_LENGTH` clients
 * that ask for it (`gk_context_connect_stream_files`) send and receive them beside messages, and programs that do not ask
 * notice nothing; a peer takes files from its writable event on. With `GK_FRAMING_RAW` the door is for nothing else: what a program
 * writes is one file in the plainest form, its name, a space and its bytes, up to the end of its half. Such a file is offered
 * with a size of 0 and a hash of zeros, since nobody knows them; nothing of it stays unless its sender ends its half.
 *
 * - `address`, `options`: as of `gk_context_listen_stream_with`
 * - `framing`: `GK_FRAMING_LENGTH` or `GK_FRAMING_RAW`
 *
 * Errors: as of `gk_context_listen_stream_with`, and `GK_ERR_ARGUMENT` (another framing; files are not allowed, see
 * `gk_context_set_files`; `GK_FRAMING_RAW` beside a password).
 *
 * Thread: any, one at a time per context.
 * Ownership: all is copied.
 */
gk_result gk_context_listen_stream_files(gk_context *context,
                                         const char *address,
                                         gk_framing framing,
                                         const gk_stream_options *options);

/**
 * Has clients talk in a stream as `gk_context_connect_stream` with `GK_FRAMING_LENGTH` does, and send and receive files there within
 * the quota of `gk_context_set_files`, which must be set before. The server's door must be one of
 * `gk_context_listen_stream_files`: another ends the connection. The client is connected when the server has agreed.
 *
 * - `options`: as of `gk_context_connect_stream`
 *
 * Errors: as of `gk_context_connect_stream`. Of the start: `GK_ERR_ARGUMENT` (files are not allowed).
 *
 * Thread: any, one at a time per context.
 * Ownership: all is copied.
 */
gk_result gk_context_connect_stream_files(gk_context *context,
                                          const gk_stream_options *options);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GAMEKEEPER_H */
