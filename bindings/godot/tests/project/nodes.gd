extends Node
## The nodes for games that send their own messages: signals, modes, passwords, deciding who comes in, figures, the simulator.

const MODES: Array[int] = [
	GamekeeperServer.UNRELIABLE, GamekeeperServer.BEST_EFFORT, GamekeeperServer.SEQUENCED,
	GamekeeperServer.ORDERED, GamekeeperServer.GUARANTEED,
]

## Ticks a second, more than frames.
const RATE := 240.0

var main: Node
var node: Node
var refused: GamekeeperClient
var heard := {}
var asked: Array[String] = []
var steps: Array[String] = []
## Of signals that told of ticks; the numbers of the first and the last tick; seconds between them.
var ticks := 0
var first_tick := 0
var last_tick := 0
var time := 0.0
var updated_in := -1
var peer := 0

func server() -> void:
	var server_node := GamekeeperServer.new()
	node = server_node
	server_node.address = "127.0.0.1"
	server_node.port = 0
	server_node.key_file = "user://server.pem"
	server_node.password = "sesame"
	server_node.authorise = true
	server_node.max_clients = 4
	add_child(server_node)
	server_node.joining.connect(_joining)
	server_node.connected.connect(_peer_connected)
	server_node.disconnected.connect(_peer_disconnected)
	server_node.message.connect(_echo)
	server_node.tick_rate = RATE
	server_node.updated.connect(_updated)
	main.check(not server_node.is_running() and server_node.get_stats().is_empty(), "it does not run yet")
	main.check(server_node.start() == OK and server_node.is_running(), "it runs")
	var key := GamekeeperKey.load_file("user://server.pem")
	main.check(key != null and key.get_public_key() == server_node.get_public_key(), "its key is in the file")
	main.check(GamekeeperKey.is_public_key(key.get_public_key()), "which is a key")
	main.check(not GamekeeperKey.is_public_key("nonsense"), "and nonsense is none")
	main.check(GamekeeperKey.from_pem(key.get_private_pem()).get_public_key() == key.get_public_key(), "as text")
	main.check(GamekeeperKey.load_file("user://nothing.pem") == null, "no file, no key")
	main.check(server_node.send(12345, PackedByteArray()) == ERR_DOES_NOT_EXIST, "nobody is there")
	main.check(server_node.send(1, PackedByteArray(), 99) == ERR_INVALID_PARAMETER, "there is no mode 99")
	_autostart()
	main.ready_with({"port": server_node.get_local_port(), "key": server_node.get_public_key()})

## Whoever starts by itself does so every time that it comes into the tree.
func _autostart() -> void:
	var by_itself := GamekeeperServer.new()
	by_itself.address = "127.0.0.1"
	by_itself.port = 0
	by_itself.autostart = true
	var client_node := GamekeeperClient.new()
	client_node.allow_any_server = true
	client_node.port = 1
	client_node.autostart = true
	for one: Node in [by_itself, client_node]:
		for i in 3:
			main.check(not one.is_running(), "outside of the tree it does not run")
			add_child(one)
			main.check(one.is_running(), "in the tree it runs, time %d" % i)
			remove_child(one)
		one.free()

## At most one signal a frame tells of ticks, and none of them is left out.
func _updated(delta: float, tick: int) -> void:
	main.check(updated_in != Engine.get_process_frames(), "two updates in one frame")
	updated_in = Engine.get_process_frames()
	if ticks == 0:
		first_tick = tick
	else:
		main.check(tick > last_tick, "ticks go on")
		time += delta
	last_tick = tick
	ticks += 1

func _look_at_ticks(rate: float) -> void:
	main.check(ticks > 10, "it ticks")
	# Frames are 60 a second at most.
	main.check(last_tick - first_tick > ticks, "ticks of one frame are one: %d %d" % [last_tick - first_tick, ticks])
	main.check(time >= (last_tick - first_tick - 1) / rate, "no time is lost: %f" % time)

func _joining(id: int, address: String, data: PackedByteArray) -> void:
	main.check(address.begins_with("127.0.0.1:"), "it comes from here")
	asked.append(data.get_string_from_utf8())
	if asked.back() == "stranger":
		main.check(node.refuse(id, 1234, "no strangers") == OK, "refuse")
	else:
		main.check(node.accept(id) == OK, "accept")

func _peer_connected(id: int, address: String) -> void:
	peer = id
	main.check(node.get_peers() == PackedInt64Array([id]), "it is the only one")
	main.check(node.get_peer_address(id) == address, "its address")
	main.check(node.broadcast("all".to_utf8_buffer()) == 1, "one was told")
	main.check(node.broadcast("all".to_utf8_buffer(), 3, 0, id) == 0, "and nobody else is there")

func _echo(id: int, data: PackedByteArray, channel: int, mode: int) -> void:
	main.check(id == peer, "who speaks")
	if data.get_string_from_utf8() == "kick me":
		var stats: Dictionary = node.get_peer_stats(id)
		main.check(stats["messages_received"] > MODES.size(), "its messages were counted")
		main.check(node.get_stats()["connects"] == 1 and node.get_stats()["refusals"] >= 1, "the server's too")
		main.check(node.disconnect_peer(id, 4321, "as you wish") == OK, "disconnect_peer")
	else:
		main.check(node.send(id, data, mode, channel) == OK, "send")

func _peer_disconnected(id: int, reason: int, code: int, _text: String) -> void:
	main.check(id == peer and reason == GamekeeperServer.KICKED, "why it left: %d %d" % [reason, code])
	main.check(asked.has("stranger") and asked.has("friend"), "both were asked about")
	_look_at_ticks(RATE)
	node.stop()
	main.check(not node.is_running() and node.get_local_port() == 0, "it stopped")
	main.pass_()

func client() -> void:
	refused = _client("stranger", "sesame")
	refused.connected.connect(func() -> void: main.fail("a stranger came in"))
	refused.disconnected.connect(_refused)
	main.check(refused.start() == OK, "start")

func _client(data: String, password: String) -> GamekeeperClient:
	var client_node := GamekeeperClient.new()
	client_node.port = main.number("port", 0)
	client_node.server_key = main.options["key"]
	client_node.password = password
	client_node.join_data = data.to_utf8_buffer()
	add_child(client_node)
	return client_node

func _refused(reason: int, code: int, text: String) -> void:
	main.check(reason == GamekeeperClient.REFUSED and code == 1234, "refused: %d %d" % [reason, code])
	main.check(text == "no strangers", "and told why: %s" % text)
	refused.queue_free()
	var client_node := _client("friend", "sesame")
	node = client_node
	# 50 ms each way, and every datagram twice: nobody notices.
	var network := GamekeeperConditions.new()
	network.delay = 0.05
	network.duplicate = 1.0
	client_node.simulate_send = network
	client_node.connected.connect(_connected)
	client_node.disconnected.connect(_kicked)
	client_node.message.connect(_message)
	client_node.tick_rate = RATE
	client_node.updated.connect(_updated)
	main.check(client_node.send(PackedByteArray()) == ERR_UNCONFIGURED, "it does not run yet")
	main.check(client_node.start() == OK, "start")

func _connected() -> void:
	main.check(node.is_connected_to_server(), "it is connected")
	main.check(node.get_proved_key() == main.options["key"], "to whom it meant")
	for mode in MODES:
		main.check(node.send(PackedByteArray([mode + 1]), mode, 5) == OK, "send")
	# Longer than a datagram.
	var long := PackedByteArray()
	long.resize(100_000)
	long.fill(7)
	main.check(node.send(long) == OK, "send a long one")

func _message(data: PackedByteArray, channel: int, mode: int) -> void:
	if data.size() == 100_000:
		main.check(data.count(7) == 100_000, "a long message is whole")
		heard["long"] = true
	elif data.get_string_from_utf8() == "all":
		heard["all"] = true
	else:
		main.check(data.size() == 1 and data[0] - 1 == mode and channel == 5, "it came as it was sent")
		heard[mode] = true
	# Loopback loses nothing to speak of, and a mode that is resent nothing at all.
	if heard.has("all") and heard.has("long") and heard.has(GamekeeperClient.ORDERED) and heard.size() >= 5:
		_look()

func _look() -> void:
	if not steps.is_empty():
		return
	steps.append("looked")
	var link: Dictionary = node.get_link_stats(GamekeeperClient.SEND)
	main.check(link["pushed"] > 0 and link["duplicated"] == link["pushed"], "the simulator works: %s" % link)
	main.check(node.get_link_stats(GamekeeperClient.RECEIVE).is_empty(), "one way only")
	main.check(node.get_latency() > 0.02, "which takes its time: %f" % node.get_latency())
	main.check(node.get_stats()["messages_received"] > 0, "it counts")
	main.check(node.get_server_clock() > 0.0 and node.get_server_tick() > 0.0, "it knows the server's clock")
	main.check(node.simulate(GamekeeperClient.SEND, null) == OK, "the network gets well")
	var names := node.get_property_list().map(func(property: Dictionary) -> String: return property["name"])
	for property: String in ["host", "port", "server_key", "password", "simulate_send", "tick_rate"]:
		main.check(names.has(property), "%s is in the inspector" % property)
	main.check(node.send("kick me".to_utf8_buffer()) == OK, "send")

func _kicked(reason: int, code: int, text: String) -> void:
	main.check(reason == GamekeeperClient.KICKED and code == 4321, "kicked: %d %d" % [reason, code])
	main.check(text == "as you wish", "and told why: %s" % text)
	_look_at_ticks(RATE)
	node.queue_free()
	main.pass_()

func state() -> String:
	return "heard %s, asked %s, steps %s, ticks %d" % [heard, asked, steps, ticks]
