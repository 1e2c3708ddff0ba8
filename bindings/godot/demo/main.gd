extends Node2D
## A whole game: one window hosts, others join, and everybody moves a square.
##
## Without a window: `godot --headless -- --host` prints the port and the key; `-- --join 127.0.0.1 KEY` joins, and walks.
## A port can follow both.

const PORT := 7777
const KEY_FILE := "user://server.pem"
const Player := preload("res://player.tscn")

func _ready() -> void:
	$Menu/Host.pressed.connect(func() -> void: host())
	$Menu/Join.pressed.connect(func() -> void: join($Menu/Address.text, $Menu/Key.text))
	multiplayer.peer_connected.connect(_peer_connected)
	multiplayer.peer_disconnected.connect(_peer_disconnected)
	multiplayer.connected_to_server.connect(func() -> void: say("connected as %d" % multiplayer.get_unique_id()))
	$Spawner.spawned.connect(func(node: Node) -> void: print("player %s is here" % node.name))
	multiplayer.connection_failed.connect(_ended)
	multiplayer.server_disconnected.connect(_ended)
	var arguments := OS.get_cmdline_user_args()
	if arguments.size() >= 1 and arguments[0] == "--host":
		host(int(arguments[1]) if arguments.size() > 1 else PORT)
	elif arguments.size() >= 3 and arguments[0] == "--join":
		join(arguments[1], arguments[2], int(arguments[3]) if arguments.size() > 3 else PORT)

func host(port := PORT) -> void:
	var key := GamekeeperKey.load_file(KEY_FILE)
	if key == null:
		key = GamekeeperKey.generate()
		key.save_file(KEY_FILE)
	var peer := GamekeeperMultiplayerPeer.new()
	peer.root_key = key
	if peer.create_server(port) != OK:
		return say("port %d cannot be had" % port)
	multiplayer.multiplayer_peer = peer
	$Menu.hide()
	if DisplayServer.has_feature(DisplayServer.FEATURE_CLIPBOARD):
		DisplayServer.clipboard_set(key.get_public_key())
	say("port %d, key %s" % [peer.get_local_port(), key.get_public_key()])
	_add_player(1)

func join(address: String, key: String, port := PORT) -> void:
	var peer := GamekeeperMultiplayerPeer.new()
	if peer.create_client(address, port, key) != OK:
		return say("the key is not one, or the address")
	multiplayer.multiplayer_peer = peer
	$Menu.hide()
	say("connecting")

func say(text: String) -> void:
	$Status.text = text
	print(text)

func _ended() -> void:
	var peer := multiplayer.multiplayer_peer as GamekeeperMultiplayerPeer
	say(peer.get_end_text() if peer else "the server is gone")
	multiplayer.multiplayer_peer = null
	$Menu.show()

func _peer_connected(id: int) -> void:
	if multiplayer.is_server():
		_add_player(id)
		print("%d players" % $Players.get_child_count())

func _peer_disconnected(id: int) -> void:
	if multiplayer.is_server() and $Players.has_node(str(id)):
		$Players.get_node(str(id)).queue_free()

func _add_player(id: int) -> void:
	var player := Player.instantiate()
	player.name = str(id)
	player.position = Vector2(randi_range(60, 580), randi_range(60, 340))
	$Players.add_child(player, true)
