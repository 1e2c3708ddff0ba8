extends Node
## One end of the test of remote calls. The server's and a client's are the same class, as in a game.

const CALLS := 50
const ANSWERS := 20

var main: Node
var finished := false

# Client.
var others := {}
var greeted := {}
var answers: Array[int] = []
var news := 0
var told := false

# Server.
var players := {}
var unreliable := {}
var ordered := {}
var on_channel := {}
var done := {}
var said_finish := false

func _ready() -> void:
	multiplayer.peer_connected.connect(_peer_connected)
	multiplayer.peer_disconnected.connect(_peer_disconnected)
	multiplayer.connected_to_server.connect(_connected)
	multiplayer.connection_failed.connect(func() -> void: main.fail("the connection failed"))

func _peer_connected(id: int) -> void:
	if multiplayer.is_server():
		main.check(id > 1 and not players.has(id), "%d is a new id" % id)
		players[id] = true
		unreliable[id] = {}
		ordered[id] = []
		on_channel[id] = []
	elif id != 1:
		main.check(not others.has(id) and id != multiplayer.get_unique_id(), "%d is somebody else" % id)
		others[id] = true

func _peer_disconnected(id: int) -> void:
	if multiplayer.is_server():
		main.check(said_finish, "nobody leaves before the end")
		players.erase(id)
		if players.is_empty():
			main.pass_()

func _connected() -> void:
	main.check(multiplayer.get_unique_id() > 1, "a client has an id")
	for n in ANSWERS:
		ask.rpc_id(1, n)
	# All in one frame: none of them may take another's place.
	for n in CALLS:
		count_unreliable.rpc_id(1, n)
		count_ordered.rpc_id(1, n)
		count_on_channel.rpc_id(1, n)

func _process(_delta: float) -> void:
	var expected: int = main.number("clients", 2)
	if multiplayer.is_server():
		if done.size() == expected and not said_finish:
			said_finish = true
			finish.rpc()
		return
	if told or others.size() < expected - 1:
		return
	for id: int in others:
		if not greeted.has(id):
			greeted[id] = 0
			greet.rpc_id(id, multiplayer.get_unique_id())
	var all_greeted := greeted.values().all(func(times: int) -> bool: return times == 1)
	if all_greeted and answers.size() == ANSWERS and news > 0:
		told = true
		# What is reliable came before this; what is not had all this time.
		tell_done.rpc_id(1)

@rpc("any_peer", "call_remote", "reliable")
func ask(n: int) -> void:
	var id := multiplayer.get_remote_sender_id()
	answer.rpc_id(id, n)
	if n == 0:
		hear.rpc("%d is here" % id)

@rpc("authority", "call_remote", "reliable")
func answer(n: int) -> void:
	main.check(n == answers.size(), "answers come in order: %d after %d" % [n, answers.size()])
	answers.append(n)

@rpc("authority", "call_remote", "reliable")
func hear(text: String) -> void:
	main.check(text.ends_with("is here"), "news are news")
	news += 1

@rpc("any_peer", "call_remote", "unreliable")
func count_unreliable(n: int) -> void:
	var seen: Dictionary = unreliable[multiplayer.get_remote_sender_id()]
	main.check(not seen.has(n), "an unreliable call came twice")
	seen[n] = true

@rpc("any_peer", "call_remote", "unreliable_ordered")
func count_ordered(n: int) -> void:
	var seen: Array = ordered[multiplayer.get_remote_sender_id()]
	main.check(seen.is_empty() or seen.back() < n, "an unreliable ordered call came late")
	seen.append(n)

@rpc("any_peer", "call_remote", "reliable", 7)
func count_on_channel(n: int) -> void:
	var seen: Array = on_channel[multiplayer.get_remote_sender_id()]
	main.check(n == seen.size(), "a channel is in order")
	seen.append(n)

@rpc("any_peer", "call_remote", "reliable")
func greet(from: int) -> void:
	main.check(multiplayer.get_remote_sender_id() == from, "the relay tells who speaks")
	greet_back.rpc_id(from, multiplayer.get_unique_id())

@rpc("any_peer", "call_remote", "reliable")
func greet_back(from: int) -> void:
	main.check(multiplayer.get_remote_sender_id() == from, "the relay tells who answers")
	greeted[from] = greeted.get(from, 0) + 1

@rpc("any_peer", "call_remote", "reliable")
func tell_done() -> void:
	var id := multiplayer.get_remote_sender_id()
	main.check(on_channel[id].size() == CALLS, "%d calls on a channel" % on_channel[id].size())
	# Loopback loses little; were one replaced by the next there would be a handful.
	main.check(unreliable[id].size() > CALLS / 2.0, "%d unreliable calls" % unreliable[id].size())
	main.check(ordered[id].size() > CALLS / 2.0, "%d unreliable ordered calls" % ordered[id].size())
	done[id] = true

@rpc("authority", "call_remote", "reliable")
func finish() -> void:
	finished = true

func state() -> String:
	return "id %d: others %d, greeted %s, answers %d, news %d, done %d, players %d" % [
		multiplayer.get_unique_id(), others.size(), greeted.values(), answers.size(), news, done.size(),
		players.size(),
	]
