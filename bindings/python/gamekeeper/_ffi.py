"""The C API through ctypes: every function, structure and constant of include/gamekeeper.h.

Nothing here judges. Calls return the library's numbers; :func:`check` turns a negative one into an
exception. ctypes lets go of the interpreter lock during every call, and no function of this package
hands the library a Python function to call back: what happened is pulled as events instead.
"""

import ctypes
import os
import sys
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
    byref,
    sizeof,
)
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type, Union

from . import errors
from ._codes import GK_ERR_BUFFER_TOO_SMALL, GK_ERR_NULL, GK_ERR_STATE, GK_OK, GK_PRIORITY_NORMAL
from ._version import __version__

PEER = c_uint64
FILE = c_uint64
RESULT = c_int32
#: A callback pointer. This package only ever passes None for one.
CALLBACK = c_void_p


class gk_content(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("type", c_char_p),
        ("encoding", c_char_p),
        ("byteorder", c_char_p),
    ]


class gk_message(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("sequence", c_uint32),
        ("data", c_void_p),
        ("len", c_size_t),
        ("mode", c_int32),
        ("channel", c_uint32),
        ("door", c_int32),
        ("reserved", c_uint32),
        ("content", POINTER(gk_content)),
    ]


class gk_connect_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("token", c_uint32),
        ("address", c_char_p),
        ("door", c_int32),
        ("reserved", c_uint32),
    ]


class gk_disconnect_info(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("code", c_int32),
        ("text", c_char_p),
        ("after_delivery", c_uint32),
        ("app_code", c_uint32),
    ]


class gk_join_request(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("token", c_uint32),
        ("address", c_char_p),
        ("data", c_void_p),
        ("len", c_size_t),
        ("door", c_int32),
        ("wire", c_int32),
        ("password", c_uint32),
        ("reserved", c_uint32),
    ]


class gk_found(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("address", c_char_p),
        ("info", c_void_p),
        ("len", c_size_t),
        ("round_trip_us", c_uint64),
    ]


class gk_update(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("seconds", c_double),
        ("tick", c_uint64),
    ]


class gk_send_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("retry", c_int32),
        ("on_sent", CALLBACK),
        ("user_data", c_void_p),
        ("notify", c_uint32),
        ("channel", c_uint32),
        ("priority", c_int32),
        ("redundancy", c_uint32),
        ("deadline_us", c_uint64),
        ("content", POINTER(gk_content)),
    ]


class gk_send_item(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("retry", c_int32),
        ("peer", PEER),
        ("data", c_void_p),
        ("len", c_size_t),
        ("channel", c_uint32),
        ("priority", c_int32),
        ("redundancy", c_uint32),
        ("notify", c_uint32),
        ("user_data", c_void_p),
        ("deadline_us", c_uint64),
        ("result", RESULT),
        ("reserved", c_uint32),
    ]


class gk_event(Structure):
    # `data` is a void pointer here, for speed: ctypes then gives it as a plain integer.
    _fields_ = [
        ("struct_size", c_uint32),
        ("type", c_int32),
        ("peer", PEER),
        ("data", c_void_p),
        ("len", c_size_t),
        ("sequence", c_uint32),
        ("mode", c_int32),
        ("channel", c_uint32),
        ("door", c_int32),
        ("code", c_int32),
        ("token", c_uint32),
        ("text", c_char_p),
        ("seconds", c_double),
        ("tick", c_uint64),
        ("user_data", c_void_p),
        ("wire", c_int32),
        ("password", c_uint32),
        ("app_code", c_uint32),
        ("reserved", c_uint32),
        ("request", c_uint64),
        ("file", FILE),
        ("file_done", c_uint64),
        ("file_size", c_uint64),
        ("content", POINTER(gk_content)),
    ]


class gk_file_quota(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("files_per_peer", c_uint32),
        ("files_total", c_uint32),
        ("reserved", c_uint32),
        ("max_file_bytes", c_uint64),
        ("bytes_per_peer", c_uint64),
        ("bytes_total", c_uint64),
        ("count_per_peer", c_uint64),
        ("count_total", c_uint64),
    ]


class gk_file_offer(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("name", c_char_p),
        ("size", c_uint64),
        ("sha256", c_void_p),
    ]


class gk_file_target(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("replace", c_uint32),
        ("directory", c_char_p),
        ("name", c_char_p),
    ]


class gk_file_end(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("result", c_int32),
        ("name", c_char_p),
        ("path", c_char_p),
        ("text", c_char_p),
        ("size", c_uint64),
    ]


class gk_file_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("name", c_char_p),
        ("on_progress", CALLBACK),
        ("user_data", c_void_p),
    ]


class gk_link_stats(Structure):
    _fields_ = [
        ("pushed", c_uint64),
        ("dropped", c_uint64),
        ("overflowed", c_uint64),
        ("duplicated", c_uint64),
        ("reordered", c_uint64),
        ("corrupted", c_uint64),
    ]


class gk_peer_stats_t(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("queued_messages", c_uint32),
        ("queued_bytes", c_uint64),
        ("latency_us", c_uint64),
        ("assembled", c_uint64),
        ("sent", c_uint64),
        ("dropped", c_uint64),
        ("received", c_uint64),
        ("acked", c_uint64),
        ("timeouts", c_uint64),
        ("pending", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("messages_resent", c_uint64),
        ("messages_received", c_uint64),
        ("messages_duplicate", c_uint64),
        ("messages_malformed", c_uint64),
        ("messages_refused", c_uint64),
        ("migrations", c_uint64),
        ("simulated_receive", gk_link_stats),
        ("simulated_send", gk_link_stats),
    ]


class gk_server_stats_t(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("peers", c_uint32),
        ("handshakes", c_uint32),
        ("joining", c_uint32),
        ("connects", c_uint64),
        ("disconnects", c_uint64),
        ("handshake_timeouts", c_uint64),
        ("packets_sent", c_uint64),
        ("packets_received", c_uint64),
        ("bytes_sent", c_uint64),
        ("bytes_received", c_uint64),
        ("drops_blocked", c_uint64),
        ("drops_malformed", c_uint64),
        ("drops_unknown", c_uint64),
        ("drops_forged", c_uint64),
        ("drops_duplicate", c_uint64),
        ("drops_old", c_uint64),
        ("drops_hello", c_uint64),
        ("drops_hello_budget", c_uint64),
        ("drops_full", c_uint64),
        ("drops_clear", c_uint64),
        ("drops_send_failed", c_uint64),
        ("ticks", c_uint64),
        ("ticks_missed", c_uint64),
        ("log_lines_suppressed", c_uint64),
        ("tick_rate_hz", c_double),
        ("messages_s", c_double),
        ("update_s", c_double),
        ("network_s", c_double),
        ("idle_s", c_double),
        ("refusals", c_uint64),
        ("drops_raw_budget", c_uint64),
        ("migrations", c_uint64),
        ("simulated_receive", gk_link_stats),
        ("simulated_send", gk_link_stats),
    ]


class gk_second(Structure):
    _fields_ = [
        ("packets_sent", c_uint32),
        ("packets_received", c_uint32),
        ("bytes_sent", c_uint32),
        ("bytes_received", c_uint32),
        ("latency_us", c_uint32),
    ]


class gk_profile_second(Structure):
    _fields_ = [
        ("messages_s", c_double),
        ("update_s", c_double),
        ("network_s", c_double),
        ("idle_s", c_double),
        ("ticks", c_uint32),
        ("reserved", c_uint32),
    ]


class gk_stream_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("read_bytes", c_uint32),
        ("max_connections", c_uint32),
        ("password_in_clear", c_uint32),
        ("stall_timeout_us", c_uint64),
        ("certificate", c_char_p),
        ("private_key", c_char_p),
        ("max_connections_per_source", c_uint32),
        ("reserved", c_uint32),
    ]


class gk_stream_tls(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("trust_anybody", c_uint32),
        ("authorities", c_char_p),
        ("certificate", c_char_p),
        ("server_name", c_char_p),
    ]


class gk_conditions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("loss", c_float),
        ("burst_loss", c_float),
        ("burst_length", c_float),
        ("delay_us", c_uint64),
        ("jitter_us", c_uint64),
        ("duplicate", c_float),
        ("reorder", c_float),
        ("reorder_delay_us", c_uint64),
        ("rate_bytes_per_s", c_uint64),
        ("queue_bytes", c_uint64),
        ("corrupt", c_float),
        ("reserved", c_uint32),
        ("seed", c_uint64),
    ]


STRUCTURES: List[Type[Structure]] = [
    gk_message,
    gk_connect_info,
    gk_join_request,
    gk_disconnect_info,
    gk_update,
    gk_send_options,
    gk_send_item,
    gk_event,
    gk_link_stats,
    gk_peer_stats_t,
    gk_server_stats_t,
    gk_second,
    gk_profile_second,
    gk_conditions,
    gk_stream_options,
    gk_stream_tls,
    gk_content,
    gk_found,
    gk_file_quota,
    gk_file_offer,
    gk_file_target,
    gk_file_end,
    gk_file_options,
]

#: Those that the caller makes, each with its function that fills in size and defaults.
INITIALISED: Dict[str, Type[Structure]] = {
    "gk_disconnect_info_init": gk_disconnect_info,
    "gk_send_options_init": gk_send_options,
    "gk_send_item_init": gk_send_item,
    "gk_peer_stats_init": gk_peer_stats_t,
    "gk_server_stats_init": gk_server_stats_t,
    "gk_conditions_init": gk_conditions,
    "gk_file_quota_init": gk_file_quota,
    "gk_file_target_init": gk_file_target,
    "gk_file_options_init": gk_file_options,
    "gk_stream_options_init": gk_stream_options,
    "gk_stream_tls_init": gk_stream_tls,
    "gk_content_init": gk_content,
}

_TEXT_OUT: List[Any] = [c_void_p, c_size_t, POINTER(c_size_t)]


def _declarations() -> Dict[str, Tuple[Any, List[Any]]]:
    """Every function: its result and its arguments."""
    key, context, server, client = c_void_p, c_void_p, c_void_p, c_void_p
    out = POINTER(c_void_p)
    table: Dict[str, Tuple[Any, List[Any]]] = {
        "gk_context_new": (RESULT, [out]),
        "gk_context_free": (None, [context]),
        "gk_context_set_root_key": (RESULT, [context, key]),
        "gk_context_set_block_list": (RESULT, [context, POINTER(c_char_p), c_size_t]),
        "gk_context_set_access_log": (RESULT, [context, c_char_p]),
        "gk_server_start": (RESULT, [context, c_char_p, out]),
        "gk_server_open": (RESULT, [context, c_char_p, out]),
        "gk_server_poll": (RESULT, [server, c_uint64]),
        "gk_server_wake": (RESULT, [server]),
        "gk_server_descriptor": (RESULT, [server, POINTER(c_int32)]),
        "gk_server_next_timeout_us": (RESULT, [server, POINTER(c_uint64)]),
        "gk_server_next_events": (
            RESULT,
            [server, POINTER(gk_event), c_size_t, c_size_t, POINTER(c_size_t)],
        ),
        "gk_server_stop": (RESULT, [server]),
        "gk_server_wait": (RESULT, [server, c_uint64]),
        "gk_server_free": (None, [server]),
        "gk_server_is_stopped": (RESULT, [server, POINTER(c_uint32)]),
        "gk_server_address": (RESULT, [server] + _TEXT_OUT),
        "gk_server_addresses": (RESULT, [server] + _TEXT_OUT),
        "gk_server_stream_address": (RESULT, [server, c_size_t, *_TEXT_OUT]),
        "gk_server_port": (RESULT, [server, POINTER(c_uint16)]),
        "gk_context_listen_http": (RESULT, [context, c_char_p, c_char_p, c_char_p]),
        "gk_context_route": (RESULT, [context, c_char_p, c_char_p, CALLBACK, c_void_p]),
        "gk_context_route_websocket": (RESULT, [context, c_char_p, CALLBACK, c_void_p]),
        "gk_context_route_files": (RESULT, [context, c_char_p, c_char_p]),
        "gk_context_clear_http": (RESULT, [context]),
        "gk_context_set_http_max_body": (RESULT, [context, c_size_t]),
        "gk_context_set_http_route_door": (RESULT, [context, c_uint32]),
        "gk_context_set_http_max_connections": (RESULT, [context, c_uint32, c_uint32]),
        "gk_context_set_http_max_requests": (RESULT, [context, c_uint32]),
        "gk_context_set_http_max_body_bytes": (RESULT, [context, c_size_t]),
        "gk_context_set_http_request_timeout_us": (RESULT, [context, c_uint64]),
        "gk_context_set_http_head_timeout_us": (RESULT, [context, c_uint64]),
        "gk_context_set_http_password_in_clear": (RESULT, [context, c_uint32]),
        "gk_server_http_address": (RESULT, [server, c_size_t, *_TEXT_OUT]),
        "gk_context_set_dashboard": (RESULT, [context, c_char_p]),
        "gk_context_set_dashboard_token": (RESULT, [context, c_char_p]),
        "gk_server_dashboard_address": (RESULT, [server, *_TEXT_OUT]),
        **{
            f"gk_request_{name}": (RESULT, [server, c_uint64, *_TEXT_OUT])
            for name in ("method", "path", "query_string", "headers", "body", "address")
        },
        **{
            f"gk_request_{name}": (RESULT, [server, c_uint64, c_char_p, *_TEXT_OUT])
            for name in ("param", "query", "header")
        },
        "gk_request_is_secure": (RESULT, [server, c_uint64, POINTER(c_uint32)]),
        "gk_response_header": (RESULT, [server, c_uint64, c_char_p, c_char_p]),
        "gk_response_clear": (RESULT, [server, c_uint64]),
        "gk_response_send": (RESULT, [server, c_uint64, c_uint32, c_void_p, c_size_t]),
        "gk_response_upgrade": (RESULT, [server, c_uint64]),
        "gk_peer_request": (RESULT, [server, PEER, POINTER(c_uint64)]),
        "gk_server_public_key_der": (RESULT, [server] + _TEXT_OUT),
        "gk_server_native_key": (RESULT, [server] + _TEXT_OUT),
        "gk_server_send": (RESULT, [server, PEER, c_char_p, c_size_t, POINTER(gk_send_options)]),
        "gk_server_send_guaranteed": (RESULT, [server, PEER, c_char_p, c_size_t, CALLBACK, c_void_p]),
        "gk_server_send_many": (RESULT, [server, c_void_p, c_size_t, c_size_t, POINTER(c_size_t)]),
        "gk_server_broadcast": (
            RESULT,
            [server, PEER, c_char_p, c_size_t, POINTER(gk_send_options), POINTER(c_size_t)],
        ),
        "gk_server_group_send": (
            RESULT,
            [
                server,
                c_char_p,
                PEER,
                c_char_p,
                c_size_t,
                POINTER(gk_send_options),
                POINTER(c_size_t),
                POINTER(c_size_t),
            ],
        ),
        "gk_context_set_files": (RESULT, [context, POINTER(gk_file_quota)]),
        "gk_context_on_file": (RESULT, [context, CALLBACK, CALLBACK, CALLBACK, c_void_p]),
        "gk_context_on_client_file": (RESULT, [context, CALLBACK, CALLBACK, CALLBACK, c_void_p]),
        "gk_server_send_file": (
            RESULT,
            [server, PEER, c_char_p, POINTER(gk_file_options), CALLBACK, POINTER(FILE)],
        ),
        "gk_server_accept_file": (RESULT, [server, PEER, FILE, POINTER(gk_file_target)]),
        "gk_server_refuse_file": (RESULT, [server, PEER, FILE, c_char_p]),
        "gk_server_cancel_file": (RESULT, [server, PEER, FILE]),
        "gk_client_send_file": (
            RESULT,
            [client, c_char_p, POINTER(gk_file_options), CALLBACK, POINTER(FILE)],
        ),
        "gk_client_accept_file": (RESULT, [client, FILE, POINTER(gk_file_target)]),
        "gk_client_refuse_file": (RESULT, [client, FILE, c_char_p]),
        "gk_client_cancel_file": (RESULT, [client, FILE]),
        "gk_server_send_raw": (RESULT, [server, c_char_p, c_char_p, c_size_t]),
        "gk_server_set_discovery_info": (RESULT, [server, c_char_p, c_size_t]),
        "gk_context_listen_stream": (RESULT, [context, c_char_p, c_int32]),
        "gk_context_listen_stream_with": (RESULT, [context, c_char_p, c_int32, POINTER(gk_stream_options)]),
        "gk_context_listen_stream_files": (RESULT, [context, c_char_p, c_int32, POINTER(gk_stream_options)]),
        "gk_context_connect_stream_files": (RESULT, [context, POINTER(gk_stream_options)]),
        "gk_context_connect_stream": (RESULT, [context, c_int32, POINTER(gk_stream_options)]),
        "gk_context_set_stream_tls": (RESULT, [context, POINTER(gk_stream_tls)]),
        "gk_context_set_password": (RESULT, [context, c_char_p, c_size_t]),
        "gk_context_set_discovery_info": (RESULT, [context, c_char_p, c_size_t]),
        "gk_peer_accept": (RESULT, [server, PEER]),
        "gk_peer_refuse": (RESULT, [server, PEER, c_uint32, c_char_p]),
        "gk_server_group_add": (RESULT, [server, c_char_p, PEER]),
        "gk_server_group_remove": (RESULT, [server, c_char_p, PEER]),
        "gk_peer_set_redundancy": (RESULT, [server, PEER, c_uint32]),
        "gk_client_discover": (
            RESULT,
            [
                POINTER(c_uint16),
                c_size_t,
                POINTER(c_char_p),
                c_size_t,
                c_uint64,
                CALLBACK,
                c_void_p,
                POINTER(c_size_t),
            ],
        ),
        "gk_server_disconnect": (RESULT, [server, PEER, POINTER(gk_disconnect_info)]),
        "gk_server_set_block_list": (RESULT, [server, POINTER(c_char_p), c_size_t]),
        "gk_server_simulate": (RESULT, [server, c_int32, POINTER(gk_conditions)]),
        "gk_server_simulate_peer": (RESULT, [server, PEER, c_int32, POINTER(gk_conditions)]),
        "gk_server_peers": (RESULT, [server, POINTER(PEER), c_size_t, POINTER(c_size_t)]),
        "gk_server_stats": (RESULT, [server, POINTER(gk_server_stats_t)]),
        "gk_server_series": (RESULT, [server, POINTER(gk_second), c_size_t, POINTER(c_size_t)]),
        "gk_server_profile_series": (
            RESULT,
            [server, POINTER(gk_profile_second), c_size_t, POINTER(c_size_t)],
        ),
        "gk_context_set_wire": (RESULT, [context, c_int32]),
        "gk_context_pin_native_key": (RESULT, [context, c_char_p, c_size_t]),
        "gk_context_pin_root_key": (RESULT, [context, c_char_p, c_size_t]),
        "gk_context_trust_any_server": (RESULT, [context]),
        "gk_context_set_join_data": (RESULT, [context, c_char_p, c_size_t]),
        "gk_client_start": (RESULT, [context, c_char_p, out]),
        "gk_client_open": (RESULT, [context, c_char_p, out]),
        "gk_client_poll": (RESULT, [client, c_uint64]),
        "gk_client_wake": (RESULT, [client]),
        "gk_client_descriptor": (RESULT, [client, POINTER(c_int32)]),
        "gk_client_next_timeout_us": (RESULT, [client, POINTER(c_uint64)]),
        "gk_client_next_events": (
            RESULT,
            [client, POINTER(gk_event), c_size_t, c_size_t, POINTER(c_size_t)],
        ),
        "gk_client_stop": (RESULT, [client]),
        "gk_client_wait": (RESULT, [client, c_uint64]),
        "gk_client_free": (None, [client]),
        "gk_client_is_stopped": (RESULT, [client, POINTER(c_uint32)]),
        "gk_client_send": (RESULT, [client, c_char_p, c_size_t, POINTER(gk_send_options)]),
        "gk_client_send_guaranteed": (RESULT, [client, c_char_p, c_size_t, CALLBACK, c_void_p]),
        "gk_client_disconnect": (RESULT, [client]),
        "gk_client_disconnect_wait": (RESULT, [client, c_uint64]),
        "gk_client_reconnect": (RESULT, [client]),
        "gk_client_status": (RESULT, [client, POINTER(c_int32)]),
        "gk_client_latency_us": (RESULT, [client, POINTER(c_uint64)]),
        "gk_client_server_clock_us": (RESULT, [client, POINTER(c_uint64)]),
        "gk_client_server_tick": (RESULT, [client, POINTER(c_double)]),
        "gk_client_simulate": (RESULT, [client, c_int32, POINTER(gk_conditions)]),
        "gk_client_queued_bytes": (RESULT, [client, POINTER(c_size_t)]),
        "gk_client_token": (RESULT, [client, POINTER(c_uint32)]),
        "gk_client_stats": (RESULT, [client, POINTER(gk_peer_stats_t)]),
        "gk_client_series": (RESULT, [client, POINTER(gk_second), c_size_t, POINTER(c_size_t)]),
        "gk_client_server_address": (RESULT, [client] + _TEXT_OUT),
        "gk_client_local_address": (RESULT, [client] + _TEXT_OUT),
        "gk_client_server_native_key": (RESULT, [client] + _TEXT_OUT),
        "gk_client_server_root_key_der": (RESULT, [client] + _TEXT_OUT),
        "gk_peer_address": (RESULT, [server, PEER] + _TEXT_OUT),
        "gk_peer_token": (RESULT, [server, PEER, POINTER(c_uint32)]),
        "gk_peer_latency_us": (RESULT, [server, PEER, POINTER(c_uint64)]),
        "gk_peer_door": (RESULT, [server, PEER, POINTER(c_int32)]),
        "gk_peer_wire": (RESULT, [server, PEER, POINTER(c_int32)]),
        "gk_peer_status": (RESULT, [server, PEER, POINTER(c_int32)]),
        "gk_peer_queued_bytes": (RESULT, [server, PEER, POINTER(c_size_t)]),
        "gk_peer_user_data": (RESULT, [server, PEER, out]),
        "gk_peer_set_user_data": (RESULT, [server, PEER, c_void_p]),
        "gk_peer_stats": (RESULT, [server, PEER, POINTER(gk_peer_stats_t)]),
        "gk_peer_set_series": (RESULT, [server, PEER, c_uint32]),
        "gk_peer_series": (RESULT, [server, PEER, POINTER(gk_second), c_size_t, POINTER(c_size_t)]),
        "gk_key_generate": (RESULT, [out]),
        "gk_key_free": (None, [key]),
        "gk_key_from_pem": (RESULT, [c_char_p, out]),
        "gk_key_from_der": (RESULT, [c_char_p, c_size_t, out]),
        "gk_key_load": (RESULT, [c_char_p, out]),
        "gk_key_save": (RESULT, [key, c_char_p]),
        "gk_key_private_pem": (RESULT, [key] + _TEXT_OUT),
        "gk_key_public_pem": (RESULT, [key] + _TEXT_OUT),
        "gk_key_private_der": (RESULT, [key] + _TEXT_OUT),
        "gk_key_public_der": (RESULT, [key] + _TEXT_OUT),
        "gk_key_native_public": (RESULT, [key] + _TEXT_OUT),
        "gk_context_set_wires": (RESULT, [context, c_uint32, c_uint32]),
        "gk_context_set_redundancy": (RESULT, [context, c_uint32]),
        "gk_context_set_io": (RESULT, [context, c_int32]),
        "gk_key_sign": (RESULT, [key, c_char_p, c_size_t] + _TEXT_OUT),
        "gk_public_key_verify": (
            RESULT,
            [c_char_p, c_size_t, c_char_p, c_size_t, c_char_p, c_size_t],
        ),
        "gk_public_key_pem_to_der": (RESULT, [c_char_p] + _TEXT_OUT),
        "gk_public_key_der_to_pem": (RESULT, [c_char_p, c_size_t] + _TEXT_OUT),
        "gk_result_str": (c_char_p, [RESULT]),
        "gk_last_error": (c_size_t, [c_void_p, c_size_t]),
        "gk_version": (c_uint32, []),
        "gk_version_str": (c_char_p, []),
    }
    # Pairs, no dictionary: on most machines c_size_t is c_uint64.
    settings: List[Tuple[Any, Sequence[str]]] = [
        (c_double, ("tick_rate_hz", "hellos_per_source_hz", "hellos_total_hz")),
        (
            c_uint64,
            (
                "keep_alive_interval_us",
                "connection_timeout_us",
                "handshake_timeout_us",
                "message_timeout_us",
                "reconcile_interval_us",
                "send_interval_us",
                "reassembly_timeout_us",
                "authorise_timeout_us",
                "busy_poll_us",
                "peer_send_rate",
                "server_send_rate",
            ),
        ),
        (
            c_uint32,
            (
                "mtu",
                "max_peers",
                "max_handshakes",
                "max_queued_messages",
                "max_queued_events",
                "max_joining",
                "authorise",
                "raw_datagrams",
            ),
        ),
        (
            c_size_t,
            (
                "max_message_size",
                "max_queued_bytes",
                "max_reassembly_bytes",
                "max_queued_event_bytes",
                "socket_receive_bytes",
                "socket_send_bytes",
            ),
        ),
    ]
    for kind, names in settings:
        for name in names:
            table["gk_context_set_" + name] = (RESULT, [context, kind])
    for event in (
        "starting",
        "connect",
        "disconnect",
        "message",
        "update",
        "writable",
        "reconcile",
        "shutdown",
        "log",
        "client_connecting",
        "client_connect",
        "client_disconnect",
        "client_message",
        "client_update",
        "client_writable",
        "client_shutdown",
        "client_log",
        "authorise",
        "raw",
    ):
        table["gk_context_on_" + event] = (RESULT, [context, CALLBACK, c_void_p])
    for name, struct in INITIALISED.items():
        table[name] = (RESULT, [POINTER(struct), c_size_t])
    return table


DECLARATIONS = _declarations()


class LibraryError(ImportError):
    """The library cannot be found or loaded, or is of another version than this package."""


def _file_names() -> List[str]:
    if sys.platform == "win32":
        return ["gamekeeper.dll"]
    if sys.platform == "darwin":
        return ["libgamekeeper.dylib"]
    return ["libgamekeeper.so"]


def _candidates() -> List[str]:
    """Where the library may lie, best first."""
    chosen = os.environ.get("GAMEKEEPER_LIBRARY")
    if chosen:
        # Who names a file wants that one and no other.
        return [chosen]
    package = os.path.dirname(os.path.abspath(__file__))
    folders = [package]
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(package)))
    if os.path.isfile(os.path.join(checkout, "Cargo.toml")):
        folders += [os.path.join(checkout, "target", profile) for profile in ("release", "debug")]
    return [os.path.join(folder, name) for folder in folders for name in _file_names()]


def find_library() -> str:
    """The library's file: the environment variable GAMEKEEPER_LIBRARY, else the one inside the package,
    else the one that cargo built in the checkout around it."""
    candidates = _candidates()
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise LibraryError(
        "the gamekeeper library was not found; looked for {}. Install the package with pip, build the "
        "checkout with 'cargo build --release', or set GAMEKEEPER_LIBRARY to the file".format(", ".join(candidates))
    )


def load(path: str) -> ctypes.CDLL:
    """Loads the library, checks that it is this package's and declares its functions."""
    try:
        library = ctypes.CDLL(os.path.abspath(path))
    except OSError as error:
        raise LibraryError("{} cannot be loaded: {}".format(path, error)) from error
    try:
        version = library.gk_version_str
    except AttributeError:
        raise LibraryError("{} is not the gamekeeper library".format(path)) from None
    version.restype, version.argtypes = DECLARATIONS["gk_version_str"]
    found = version().decode("ascii", "replace")
    if found != __version__:
        raise LibraryError(
            "{} is gamekeeper {}, but this is the Python package of {}: install both from one "
            "release".format(path, found, __version__)
        )
    for name, (result, arguments) in DECLARATIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


lib: Any = load(find_library())

#: Whether this process was forked from one with servers or clients, whose handles are empty here.
_inherited = False


def inherit() -> None:
    """Says so."""
    global _inherited
    _inherited = True


def check(result: int) -> None:
    """Raises the exception for a negative result of this thread's last call."""
    if result != GK_OK:
        raise error(result)


def error(result: int) -> errors.GamekeeperError:
    """The exception for a negative result of this thread's last call, with the library's sentence."""
    if result == GK_ERR_NULL and _inherited:
        text = "it belongs to the process that this one was forked from, and can only be used there"
        return errors.from_code(GK_ERR_STATE, text)
    length: int = lib.gk_last_error(None, 0)
    buffer = ctypes.create_string_buffer(length + 1)
    lib.gk_last_error(buffer, length + 1)
    text = buffer.value.decode("utf-8", "replace")
    return errors.from_code(result, text or result_text(result))


def result_text(result: int) -> str:
    """What one of the library's numbers means."""
    text: bytes = lib.gk_result_str(result)
    return text.decode("utf-8", "replace")


def read_bytes(function: Callable[..., int], *arguments: Any) -> bytes:
    """Calls a function that ends in (buf, cap, out_len) and gives what it wrote."""
    capacity = 512
    # Twice is enough for what does not change; the bound is for an address that grows in between.
    for _ in range(4):
        buffer = ctypes.create_string_buffer(capacity)
        length = c_size_t()
        result = function(*arguments, buffer, capacity, byref(length))
        if result == GK_ERR_BUFFER_TOO_SMALL:
            # One more for functions that end their text with a NUL which the length leaves out.
            capacity = length.value + 1
            continue
        check(result)
        return buffer.raw[: length.value]
    raise errors.from_code(GK_ERR_BUFFER_TOO_SMALL, None)


def read_text(function: Callable[..., int], *arguments: Any) -> str:
    """The same for text."""
    return read_bytes(function, *arguments).rstrip(b"\0").decode("utf-8")


def c_text(text: str) -> bytes:
    """Text as the library takes it. A NUL inside would end it early, unseen."""
    if "\0" in text:
        raise ValueError("text with a NUL character")
    return text.encode("utf-8")


def c_path(path: "Union[str, os.PathLike[str]]") -> bytes:
    """A path as the library takes it."""
    return c_text(os.fspath(path))


def c_texts(texts: Sequence[str]) -> Tuple[Optional["ctypes.Array[c_char_p]"], int]:
    """A list of texts as the library takes it: an array and its length."""
    if not texts:
        return None, 0
    array = (c_char_p * len(texts))(*[c_text(text) for text in texts])
    return array, len(texts)


def send_options(
    retry: int,
    tag: Optional[int] = None,
    channel: int = 0,
    priority: int = GK_PRIORITY_NORMAL,
    redundancy: int = 0,
) -> gk_send_options:
    """How to send; with a tag, its GK_EVENT_SENT carries it."""
    for name, value in (("channel", channel), ("priority", priority), ("redundancy", redundancy)):
        # ctypes would cut off what does not fit, unseen.
        if not 0 <= value <= 0xFF:
            raise ValueError("the {} is {}, a number from 0 to 255 is wanted".format(name, value))
    notify = 0 if tag is None else 1
    size = sizeof(gk_send_options)
    return gk_send_options(size, retry, None, tag, notify, channel, priority, redundancy, 0)
