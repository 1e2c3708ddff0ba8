extends Node
## A game at 60 Hz: every client says each tick what it does, the server tells everybody each tick where all are.

const World := preload("res://play_world.gd")

var main: Node
var worlds: Array[Node] = []

func server() -> void:
	var peer := GamekeeperMultiplayerPeer.new()
	peer.root_key = GamekeeperKey.generate()
	peer.bind_address = "127.0.0.1"
	main.check(peer.create_server(0, main.number("clients", 2)) == OK, "create_server")
	worlds.append(main.branch("Server", peer, World))
	main.ready_with({"port": peer.get_local_port(), "key": peer.get_server_key()})

func client() -> void:
	for i in main.number("clients", 2):
		var peer := GamekeeperMultiplayerPeer.new()
		main.check(
			peer.create_client("127.0.0.1", main.number("port", 0), main.options["key"]) == OK, "create_client"
		)
		worlds.append(main.branch("Client%d" % i, peer, World))

func _process(_delta: float) -> void:
	if main.options["role"] != "client" or worlds.is_empty():
		return
	if worlds.all(func(world: Node) -> bool: return world.finished):
		var stats: Dictionary = worlds[0].multiplayer.multiplayer_peer.get_stats()
		main.check(stats["refused_packets"] == 0, "nothing was refused")
		print("ticks %d, states %d, received %d" % [
			worlds[0].ticks, worlds[0].states, stats["packets_received"],
		])
		for world in worlds:
			main.close_branch(world)
		worlds.clear()
		main.pass_()

func state() -> String:
	return "\n".join(worlds.map(func(world: Node) -> String: return world.state()))
