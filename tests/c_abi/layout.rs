//! Every size, offset and constant of the header, as the C compiler sees it, against Rust's.

use std::collections::BTreeMap;
use std::mem::{align_of, offset_of, size_of};

use gamekeeper::ffi::{
    callbacks::*, client_callbacks::*, conditions::*, content::*, context::*, discover::*, events::*,
    files::*, http::*, peer::*, result::*, send::*, send_many::*, server::*, stats::*, stream_tls::*,
    streams::*, version::*,
};

use super::c::{self, Language, Program};

/// Sizes, alignments and offsets of structs, as Rust has them.
macro_rules! layout {
    ($into:ident, $($name:ident { $($field:ident),+ $(,)? })+) => {
        $(
            $into.insert(format!("sizeof {}", stringify!($name)), size_of::<$name>() as i128);
            $into.insert(format!("alignof {}", stringify!($name)), align_of::<$name>() as i128);
            $(
                let field = stringify!($field).trim_start_matches("r#");
                $into.insert(format!("offset {}.{field}", stringify!($name)), offset_of!($name, $field) as i128);
            )+
        )+
    };
}

macro_rules! sizes {
    ($into:ident, $($name:ident)+) => {
        $($into.insert(format!("sizeof {}", stringify!($name)), size_of::<$name>() as i128);)+
    };
}

macro_rules! constants {
    ($into:ident, $($name:ident)+) => {
        $($into.insert(stringify!($name).to_owned(), $name as i128);)+
    };
}

fn rust() -> BTreeMap<String, i128> {
    let mut all = BTreeMap::new();
    layout!(all,
        gk_message { struct_size, sequence, data, len, mode, channel, door, reserved, content }
        gk_content { struct_size, reserved, r#type, encoding, byteorder }
        gk_stream_tls { struct_size, trust_anybody, authorities, certificate, server_name }
        gk_connect_info { struct_size, token, address, door, reserved }
        gk_join_request { struct_size, token, address, data, len, door, wire, password, reserved }
        gk_disconnect_info { struct_size, code, text, after_delivery, app_code }
        gk_update { struct_size, reserved, seconds, tick }
        gk_event {
            struct_size, r#type, peer, data, len, sequence, mode, channel, door, code, token, text, seconds,
            tick, user_data, wire, password, app_code, reserved, request, file, file_done,
            file_size, content
        }
        gk_file_quota {
            struct_size, files_per_peer, files_total, reserved, max_file_bytes, bytes_per_peer, bytes_total, count_per_peer,
            count_total
        }
        gk_file_offer { struct_size, reserved, name, size, sha256 }
        gk_file_target { struct_size, replace, directory, name }
        gk_file_end { struct_size, result, name, path, text, size }
        gk_file_options { struct_size, reserved, name, on_progress, user_data }
        gk_send_options {
            struct_size, retry, on_sent, user_data, notify, channel, priority, redundancy, deadline_us,
            content
        }
        gk_send_item {
            struct_size, retry, peer, data, len, channel, priority, redundancy, notify, user_data, deadline_us, result,
            reserved
        }
        gk_peer_stats_t {
            struct_size, queued_messages, queued_bytes, latency_us, assembled, sent, dropped, received, acked,
            timeouts, pending, bytes_sent, bytes_received, messages_resent, messages_received,
            messages_duplicate, messages_malformed, messages_refused, migrations, simulated_receive,
            simulated_send
        }
        gk_server_stats_t {
            struct_size, peers, handshakes, joining, connects, disconnects, handshake_timeouts, packets_sent,
            packets_received, bytes_sent, bytes_received, drops_blocked, drops_malformed, drops_unknown,
            drops_forged, drops_duplicate, drops_old, drops_hello, drops_hello_budget, drops_full,
            drops_clear, drops_send_failed, ticks, ticks_missed, log_lines_suppressed, tick_rate_hz,
            messages_s, update_s, network_s, idle_s, refusals, drops_raw_budget, migrations, simulated_receive,
            simulated_send
        }
        gk_conditions {
            struct_size, loss, burst_loss, burst_length, delay_us, jitter_us, duplicate, reorder,
            reorder_delay_us, rate_bytes_per_s, queue_bytes, corrupt, reserved, seed
        }
        gk_stream_options {
            struct_size, read_bytes, max_connections, password_in_clear, stall_timeout_us,
            certificate, private_key, max_connections_per_source, reserved
        }
        gk_found { struct_size, reserved, address, info, len, round_trip_us }
        gk_link_stats { pushed, dropped, overflowed, duplicated, reordered, corrupted }
        gk_second { packets_sent, packets_received, bytes_sent, bytes_received, latency_us }
        gk_profile_second { messages_s, update_s, network_s, idle_s, ticks, reserved }
    );
    sizes!(all, gk_result gk_peer gk_retry_mode gk_priority gk_status gk_outcome gk_direction gk_log_level gk_disconnect_code gk_door gk_framing
        gk_event_type gk_starting_fn gk_connect_fn gk_disconnect_fn gk_message_fn gk_update_fn gk_writable_fn
        gk_route_fn gk_request gk_reconcile_fn gk_shutdown_fn gk_log_fn gk_sent_fn gk_authorise_fn gk_raw_fn gk_found_fn gk_wire gk_io
        gk_refusal gk_client_connecting_fn gk_client_connect_fn
        gk_client_disconnect_fn gk_client_message_fn gk_client_update_fn gk_client_writable_fn
        gk_client_shutdown_fn gk_client_log_fn gk_file gk_file_result gk_file_offer_fn gk_client_file_offer_fn
        gk_file_progress_fn gk_file_end_fn);
    constants!(all, GK_VERSION GK_VERSION_MAJOR GK_VERSION_MINOR GK_VERSION_PATCH GK_FOREVER GK_OK GK_ERR_NULL
        GK_ERR_ARGUMENT GK_ERR_UTF8 GK_ERR_STATE GK_ERR_REENTRANT GK_ERR_BUSY GK_ERR_STALE GK_ERR_WOULD_BLOCK
        GK_ERR_TOO_LARGE GK_ERR_ADDRESS GK_ERR_ADDRESS_IN_USE GK_ERR_IO GK_ERR_KEY GK_ERR_SIGNATURE
        GK_ERR_BUFFER_TOO_SMALL GK_ERR_TIMEOUT GK_ERR_PANIC GK_PEER_NONE GK_RETRY_ON_TIMEOUT GK_RETRY_NONE
        GK_RETRY_BEST_EFFORT GK_RETRY_SEQUENCED GK_RETRY_ORDERED GK_PRIORITY_URGENT GK_PRIORITY_NORMAL
        GK_PRIORITY_LOW GK_PRIORITY_BULK GK_MODE_UNKNOWN GK_SENT_DELIVERED GK_SENT_EXPIRED GK_SENT_CANCELLED GK_LOG_ERROR
        GK_LOG_WARN GK_LOG_INFO GK_LOG_DEBUG GK_DISCONNECT_REMOTE GK_DISCONNECT_KICKED GK_DISCONNECT_TIMEOUT
        GK_DISCONNECT_SHUTDOWN GK_DISCONNECT_REPLACED GK_DISCONNECT_BLOCKED GK_DISCONNECT_LOCAL
        GK_DISCONNECT_NOBODY_LISTENS GK_DISCONNECT_UNREACHABLE GK_DISCONNECT_NAME GK_DISCONNECT_KEY GK_DISCONNECT_HOST GK_DOOR_UDP
        GK_DOOR_STREAM GK_DOOR_WEBSOCKET GK_WIRE_STREAM GK_FRAMING_RAW GK_FRAMING_LENGTH GK_FRAMING_LINES GK_FRAMING_JSON
        GK_MAX_STREAM_DOORS GK_WEBSOCKET_BINARY GK_WEBSOCKET_TEXT GK_EVENT_REQUEST GK_REQUEST_NONE
        GK_HTTP_ALL_DOORS
        GK_EVENT_STARTING GK_EVENT_CONNECT GK_EVENT_DISCONNECT GK_EVENT_MESSAGE GK_EVENT_UPDATE
        GK_EVENT_WRITABLE GK_EVENT_RECONCILE GK_EVENT_SENT GK_EVENT_SHUTDOWN GK_EVENT_LOG GK_EVENT_CONNECTING
        GK_WIRE_NATIVE GK_WIRE_MPGAMESERVER
        GK_STATUS_CONNECTING GK_STATUS_CONNECTED GK_STATUS_DISCONNECTING GK_STATUS_DISCONNECTED
        GK_STATUS_DROPPED GK_DIRECTION_RECEIVE GK_DIRECTION_SEND GK_IO_BATCHED GK_IO_PORTABLE
        GK_STATUS_JOINING GK_DISCONNECT_REFUSED GK_DISCONNECT_PROTOCOL GK_DISCONNECT_LOCAL
        GK_DISCONNECT_RESTARTED GK_WIRE_MPGAMESERVER GK_WIRE_NATIVE GK_REFUSED_FULL GK_REFUSED_BUSY
        GK_REFUSED_UNDECIDED GK_REFUSED_PASSWORD_WANTED GK_REFUSED_PASSWORD_WRONG GK_REFUSED_TOO_MANY_GUESSES
        GK_FILE_NONE GK_FILE_DONE GK_FILE_CANCELLED GK_FILE_REFUSED GK_FILE_BUSY GK_FILE_QUOTA GK_FILE_TOO_LARGE
        GK_FILE_VANISHED GK_FILE_NO_SPACE GK_FILE_DISK GK_FILE_MISMATCH GK_FILE_PROTOCOL GK_FILE_STALLED
        GK_FILE_DISCONNECTED GK_EVENT_FILE_OFFER GK_EVENT_FILE_PROGRESS GK_EVENT_FILE_END
        GK_REFUSED_HOST GK_EVENT_AUTHORISE GK_EVENT_RAW GK_GROUP_MAX_NAME_BYTES GK_DISCOVERY_MAX_PORTS
        GK_DISCOVERY_MAX_ADDRESSES);
    all
}

/// A C program that prints the same, for every struct, type and constant that the header has.
fn program(header: &str) -> String {
    let code = c::without_comments(header);
    let mut checks = Vec::new();
    let mut print = |label: &str, expression: &str, signed: bool| {
        let (format, cast) = if signed { ("lld", "long long") } else { ("llu", "unsigned long long") };
        checks.push(format!("    printf(\"{label} %{format}\\n\", ({cast})({expression}));"));
    };
    let mut fields: Option<Vec<String>> = None;
    for line in code.lines() {
        let text = line.trim().trim_end_matches(';');
        if let Some(constant) = line.strip_prefix("#define GK_") {
            let name = format!("GK_{}", constant.split([' ', '(']).next().unwrap());
            if !name.starts_with("GK_STRINGIFY") && name != "GK_VERSION_STR" {
                print(&name, &name, name != "GK_FOREVER");
            }
        } else if line == "typedef struct {" {
            fields = Some(Vec::new());
        } else if let Some(name) = line.strip_prefix("} gk_") {
            let name = format!("gk_{}", name.trim_end_matches(';'));
            print(&format!("sizeof {name}"), &format!("sizeof({name})"), false);
            print(&format!("alignof {name}"), &format!("ALIGNOF({name})"), false);
            for field in fields.take().expect("a struct began") {
                print(&format!("offset {name}.{field}"), &format!("offsetof({name}, {field})"), false);
            }
        } else if let Some(fields) = fields.as_mut() {
            if !text.is_empty() {
                fields.push(text.rsplit([' ', '*']).next().unwrap().to_owned());
            }
        } else if let Some(rest) = line.strip_prefix("typedef void (*") {
            let name = rest.split(')').next().unwrap();
            print(&format!("sizeof {name}"), &format!("sizeof({name})"), false);
        } else if line.starts_with("typedef ") && !line.starts_with("typedef struct ") {
            let name = text.rsplit(' ').next().unwrap();
            print(&format!("sizeof {name}"), &format!("sizeof({name})"), false);
        }
    }
    format!(
        "#include <gamekeeper.h>\n#include <stdio.h>\n\
         #define ALIGNOF(type) offsetof(struct {{ char c; type t; }}, t)\n\
         int main(void) {{\n{}\n    return 0;\n}}\n",
        checks.join("\n")
    )
}

#[test]
fn c_and_rust_agree_on_every_size_offset_and_constant() {
    let header = std::fs::read_to_string(c::root().join("include/gamekeeper.h")).unwrap();
    let source = c::temporary("layout.c");
    std::fs::write(&source, program(&header)).unwrap();
    let output = Program::start(&c::build(Language::C99, &source), &[]).finish();
    let seen: BTreeMap<String, i128> = output
        .lines()
        .map(|line| {
            let (label, value) = line.rsplit_once(' ').unwrap();
            (label.to_owned(), value.parse().unwrap())
        })
        .collect();
    let rust = rust();
    assert!(seen.len() > 150, "only {} items found in the header", seen.len());
    for (label, value) in &seen {
        assert_eq!(rust.get(label), Some(value), "{label}: Rust's on the left, C's on the right");
    }
    let missing: Vec<_> = rust.keys().filter(|label| !seen.contains_key(*label)).collect();
    assert!(missing.is_empty(), "not in the header: {missing:?}");
}
