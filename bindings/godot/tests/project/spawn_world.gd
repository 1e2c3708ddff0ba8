extends Node
## One end of the test of spawners: players are spawned below, under the ids of their clients.

const Player := preload("res://player.tscn")
const FAR := 30.0

var main: Node
var finished := false
var answered := {}
var gone := false
var moves := 0
var furthest := {}
var told := false

func _ready() -> void:
	var players := Node.new()
	players.name = "Players"
	add_child(players)
	var spawner := MultiplayerSpawner.new()
	spawner.name = "Spawner"
	spawner.add_spawnable_scene("res://player.tscn")
	add_child(spawner)
	spawner.spawn_path = spawner.get_path_to(players)
	multiplayer.peer_connected.connect(_peer_connected)
	multiplayer.peer_disconnected.connect(_peer_disconnected)
	multiplayer.connection_failed.connect(func() -> void: main.fail("the connection failed"))

func _peer_connected(id: int) -> void:
	if multiplayer.is_server():
		var player := Player.instantiate()
		player.name = str(id)
		player.position = Vector2(1, id % 1000)
		$Players.add_child(player, true)

func _peer_disconnected(id: int) -> void:
	if multiplayer.is_server():
		main.check(gone and answered.erase(id), "%d leaves at the end, once" % id)
		if answered.is_empty():
			main.pass_()

func _physics_process(_delta: float) -> void:
	if multiplayer.multiplayer_peer == null or finished:
		return
	if multiplayer.is_server():
		_serve()
	elif multiplayer.get_unique_id() > 1:
		_play()

func _serve() -> void:
	var pressed := 0
	for player: Node2D in $Players.get_children():
		player.position.x += 1.0
		# 7 is what every client presses: the authority of this is the client's.
		pressed += 1 if player.get_node("Input").pressed == 7 else 0
	var expected: int = main.number("clients", 2)
	if not gone and pressed == expected and answered.size() == expected:
		gone = true
		for player in $Players.get_children():
			player.queue_free()

func _play() -> void:
	var players := $Players.get_children()
	for player: Node2D in players:
		main.check(int(player.position.y) == player.name.to_int() % 1000, "a spawned player has its state")
		furthest[player.name] = maxf(furthest.get(player.name, 0.0), player.position.x)
	var own := $Players.get_node_or_null(str(multiplayer.get_unique_id()))
	if own != null:
		own.get_node("Input").pressed = 7
	var far := furthest.values().filter(func(x: float) -> bool: return x > FAR).size()
	if not told and far == main.number("clients", 2) and players.size() == far:
		told = true
		all_moved.rpc_id(1)
	# The server takes them away when everybody has seen them.
	if told and players.is_empty():
		finished = true

@rpc("any_peer", "call_remote", "reliable")
func all_moved() -> void:
	answered[multiplayer.get_remote_sender_id()] = true

func state() -> String:
	return "players %d, answered %d, gone %s, furthest %s, told %s" % [
		$Players.get_child_count(), answered.size(), gone, furthest.values(), told,
	]
