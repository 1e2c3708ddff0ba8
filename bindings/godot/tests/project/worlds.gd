extends Node
## What tests with a world per player have in common: a server and as many clients as asked for, each with a multiplayer of its
## own, and the end when every client's world is finished.

var main: Node
## The script of a world, which whoever extends this says.
var world: GDScript
var worlds: Array[Node] = []

func server() -> void:
	var peer := GamekeeperMultiplayerPeer.new()
	peer.root_key = GamekeeperKey.generate()
	peer.bind_address = "127.0.0.1"
	if not main.check(peer.create_server(0, main.number("clients", 2)) == OK, "create_server"):
		return
	main.check(peer.get_connection_status() == MultiplayerPeer.CONNECTION_CONNECTED, "a server is connected")
	main.check(peer.get_unique_id() == 1 and peer.is_server_relay_supported(), "it is number one")
	worlds.append(main.branch("Server", peer, world))
	main.ready_with({"port": peer.get_local_port(), "key": peer.get_server_key()})

func client() -> void:
	for i in main.number("clients", 2):
		var peer := GamekeeperMultiplayerPeer.new()
		if not main.check(
			peer.create_client("127.0.0.1", main.number("port", 0), main.options["key"]) == OK, "create_client"
		):
			return
		main.check(peer.get_connection_status() == MultiplayerPeer.CONNECTION_CONNECTING, "it connects")
		worlds.append(main.branch("Client%d" % i, peer, world))

func _process(_delta: float) -> void:
	if main.options["role"] != "client" or worlds.is_empty():
		return
	if worlds.all(func(one: Node) -> bool: return one.finished):
		finished()
		for one in worlds:
			main.close_branch(one)
		worlds.clear()
		main.pass_()

## Every client's world is finished, and still there.
func finished() -> void:
	pass

func state() -> String:
	return "\n".join(worlds.map(func(one: Node) -> String: return one.state()))
