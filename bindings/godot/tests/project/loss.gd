extends Node
## A server that ends, and one that vanishes (the test kills its process): the clients hear of it as the engine says.

var main: Node
var apis: Array[SceneMultiplayer] = []
var connected := 0
var lost := 0
var left := 0
var closing := -1.0

func server() -> void:
	var peer := GamekeeperMultiplayerPeer.new()
	peer.root_key = GamekeeperKey.generate()
	peer.bind_address = "127.0.0.1"
	main.check(peer.create_server(0) == OK, "create_server")
	multiplayer.multiplayer_peer = peer
	main.ready_with({"port": peer.get_local_port(), "key": peer.get_server_key()})

func client() -> void:
	for i in main.number("clients", 2):
		var root := Node.new()
		root.name = "Client%d" % i
		main.add_child(root)
		var api := SceneMultiplayer.new()
		get_tree().set_multiplayer(api, root.get_path())
		var peer := GamekeeperMultiplayerPeer.new()
		peer.connection_timeout = 2.0
		main.check(
			peer.create_client("127.0.0.1", main.number("port", 0), main.options["key"]) == OK, "create_client"
		)
		api.connected_to_server.connect(func() -> void: connected += 1)
		api.peer_disconnected.connect(func(id: int) -> void: left += 1 if id == 1 else 0)
		api.server_disconnected.connect(_lost.bind(peer))
		api.multiplayer_peer = peer
		apis.append(api)

func _lost(peer: GamekeeperMultiplayerPeer) -> void:
	lost += 1
	main.check(peer.get_connection_status() == MultiplayerPeer.CONNECTION_DISCONNECTED, "it is disconnected")
	main.check(not peer.get_end_text().is_empty(), "it knows why")

func _process(delta: float) -> void:
	if main.options["role"] == "server":
		_serve(delta)
		return
	var expected: int = main.number("clients", 2)
	if connected == expected and closing < 0:
		closing = 0.0
		# The test waits for this line before it kills the server.
		print("CONNECTED")
	if lost == expected:
		main.check(left == expected, "each lost its server as a peer too: %d" % left)
		for api in apis:
			main.check(api.get_peers().is_empty(), "nobody is left")
			api.multiplayer_peer = null
		main.pass_()

func _serve(delta: float) -> void:
	if main.options.get("how") != "close" or multiplayer.get_peers().size() < main.number("clients", 2):
		return
	closing = maxf(closing, 0.0) + delta
	# Everybody has had time to hear of everybody.
	if closing > 0.5:
		multiplayer.multiplayer_peer.close()
		multiplayer.multiplayer_peer = null
		main.pass_()

func state() -> String:
	return "connected %d, lost %d, left %d" % [connected, lost, left]
