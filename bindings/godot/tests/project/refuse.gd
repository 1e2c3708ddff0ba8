extends Node
## Who is not let in, and who is sent away: the client's engine tells of it, and the peer says why.

const World := preload("res://refuse_world.gd")

var main: Node
var worlds := {}
var keys := {}
var waiting := {}

func server() -> void:
	var ports := {}
	for called: String in ["closed", "full", "password", "kick", "kick_silently"]:
		var peer := GamekeeperMultiplayerPeer.new()
		peer.root_key = GamekeeperKey.generate()
		peer.bind_address = "127.0.0.1"
		peer.password = "sesame" if called == "password" else ""
		main.check(peer.create_server(0, 1 if called == "full" else 8) == OK, "create_server")
		worlds[called] = main.branch(called, peer, World)
		var api: SceneMultiplayer = worlds[called].multiplayer
		api.refuse_new_connections = called == "closed"
		ports[called] = [peer.get_local_port(), peer.get_server_key()]
	main.ready_with({"ports": JSON.stringify(ports)})

func client() -> void:
	var servers: Dictionary = JSON.parse_string(main.options["ports"])
	for called: String in servers:
		keys[called] = [int(servers[called][0]), servers[called][1]]
	_expect("closed", "closed", keys["closed"][1], "", "failed", 1001)
	_expect("guess", "password", keys["password"][1], "simsim", "failed", 5)
	_expect("no_password", "password", keys["password"][1], "", "failed", 4)
	_expect("right", "password", keys["password"][1], "sesame", "connected", 0)
	# Another key than the server's: it cannot even read the hello.
	_expect("other_key", "closed", keys["kick"][1], "", "failed", 0)
	_expect("kick", "kick", keys["kick"][1], "", "kicked", 1003)
	_expect("kick_silently", "kick_silently", keys["kick_silently"][1], "", "kicked", 1003)
	# The first is let in, and the second finds it there.
	_expect("first", "full", keys["full"][1], "", "connected", 0)

func _expect(called: String, at: String, key: String, password: String, what: String, code: int) -> void:
	var peer := GamekeeperMultiplayerPeer.new()
	peer.password = password
	peer.handshake_timeout = 2.0
	main.check(peer.create_client("127.0.0.1", keys[at][0], key) == OK, "create_client %s" % called)
	var world: Node = main.branch(called, peer, World)
	worlds[called] = world
	waiting[called] = what
	var api := world.multiplayer as SceneMultiplayer
	api.connected_to_server.connect(func() -> void: _happened(called, "connected", peer, code))
	api.connection_failed.connect(func() -> void: _happened(called, "failed", peer, code))
	api.server_disconnected.connect(func() -> void: _happened(called, "kicked", peer, code))

func _happened(called: String, what: String, peer: GamekeeperMultiplayerPeer, code: int) -> void:
	if waiting.get(called) == "kicked" and what == "connected":
		return
	main.check(waiting.get(called) == what, "%s: %s instead of %s" % [called, what, waiting.get(called)])
	main.check(peer.get_end_code() == code, "%s: code %d, %s" % [called, peer.get_end_code(), peer.get_end_text()])
	if what != "connected":
		main.check(not peer.get_end_text().is_empty(), "%s: no reason" % called)
	if what == "kicked":
		main.check(worlds[called].goodbye == "bye", "what was said before the end arrives")
	waiting.erase(called)
	if called == "first":
		_expect("second", "full", keys["full"][1], "", "failed", 1)
	if waiting.is_empty():
		_finish.call_deferred()

func _finish() -> void:
	for called: String in worlds:
		main.close_branch(worlds[called])
	worlds.clear()
	main.pass_()

func _process(_delta: float) -> void:
	if main.options["role"] != "server" or worlds.is_empty():
		return
	for called: String in ["kick", "kick_silently"]:
		var world: Node = worlds[called]
		if world.kicked or world.multiplayer.get_peers().is_empty():
			continue
		var id: int = world.multiplayer.get_peers()[0]
		world.bye.rpc_id(id)
		world.multiplayer.multiplayer_peer.disconnect_peer(id, called == "kick_silently")
		world.kicked = true
	# The client process is done when both that were let in have left again.
	var left: int = worlds["full"].left + worlds["password"].left
	if left == 2 and worlds["kick"].kicked and worlds["kick_silently"].kicked:
		main.check(worlds["kick"].left == 1, "who is sent away leaves")
		main.check(worlds["kick_silently"].left == 0, "by force means without a signal")
		main.check(worlds["closed"].joined == 0, "who is refused was never there")
		main.check(worlds["password"].joined == 1 and worlds["full"].joined == 1, "one each was let in")
		main.pass_()

func state() -> String:
	return "waiting for %s; %s" % [
		waiting, worlds.keys().map(func(called: String) -> String: return worlds[called].state()),
	]
