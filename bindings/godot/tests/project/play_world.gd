extends Node
## One end of the game at 60 Hz.

var main: Node
var finished := false

# Both.
var ticks := 0
var chat := {}

# Server.
var positions := {}
var inputs := {}
var stopping := false

# Client.
var states := 0
var newest := -1
var playing := false

func _ready() -> void:
	multiplayer.peer_connected.connect(_peer_connected)
	multiplayer.peer_disconnected.connect(_peer_disconnected)
	multiplayer.connection_failed.connect(func() -> void: main.fail("the connection failed"))
	multiplayer.server_disconnected.connect(func() -> void: main.fail("the server was lost"))

func _peer_connected(id: int) -> void:
	if not multiplayer.is_server():
		return
	positions[id] = Vector2.ZERO
	inputs[id] = 0
	chat[id] = 0
	if positions.size() == main.number("clients", 2):
		begin.rpc()
		playing = true

func _peer_disconnected(id: int) -> void:
	if multiplayer.is_server():
		main.check(stopping, "nobody leaves a game that goes on")
		positions.erase(id)
		if positions.is_empty():
			main.pass_()

func _physics_process(_delta: float) -> void:
	if not playing or finished:
		return
	ticks += 1
	if not multiplayer.is_server():
		move.rpc_id(1, ticks, Vector2(randf(), randf()))
		if ticks % 60 == 0:
			say.rpc_id(1, ticks / 60)
		return
	# A state of some size, as a game has.
	see.rpc(ticks, positions)
	if ticks >= 60 * main.number("seconds", 5) and not stopping:
		stopping = true
		playing = false
		end.rpc(ticks)

@rpc("authority", "call_remote", "reliable")
func begin() -> void:
	playing = true

@rpc("any_peer", "call_remote", "unreliable_ordered")
func move(_tick: int, by: Vector2) -> void:
	var id := multiplayer.get_remote_sender_id()
	positions[id] += by
	inputs[id] += 1

@rpc("any_peer", "call_remote", "reliable", 2)
func say(n: int) -> void:
	var id := multiplayer.get_remote_sender_id()
	main.check(n == chat[id] + 1, "what is said comes in order: %d after %d" % [n, chat[id]])
	chat[id] = n

@rpc("authority", "call_remote", "unreliable")
func see(tick: int, all: Dictionary) -> void:
	main.check(all.has(multiplayer.get_unique_id()), "everybody is in the state")
	newest = maxi(newest, tick)
	states += 1

@rpc("authority", "call_remote", "reliable")
func end(server_ticks: int) -> void:
	main.check(states * 2 > server_ticks, "%d of %d states" % [states, server_ticks])
	playing = false
	played.rpc_id(1, ticks)

## A busy machine leaves ticks of a process out; of those that were, loopback loses few.
@rpc("any_peer", "call_remote", "reliable")
func played(client_ticks: int) -> void:
	var id := multiplayer.get_remote_sender_id()
	main.check(stopping and client_ticks > 60, "%d played for %d ticks" % [id, client_ticks])
	main.check(inputs[id] * 2 > client_ticks, "%d of %d inputs of %d" % [inputs[id], client_ticks, id])
	main.check(chat[id] > 0, "%d said nothing" % id)
	leave.rpc_id(id)

@rpc("authority", "call_remote", "reliable")
func leave() -> void:
	finished = true

func state() -> String:
	return "id %d: ticks %d, states %d, inputs %s, chat %s" % [
		multiplayer.get_unique_id(), ticks, states, inputs.values(), chat.values(),
	]
