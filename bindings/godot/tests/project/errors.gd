extends Node
## What is wrong is an error number, and a line for the programmer: this process is expected to write those.

var main: Node

func alone() -> void:
	var peer := GamekeeperMultiplayerPeer.new()
	main.check(peer.create_client("127.0.0.1", 7777) == ERR_UNAUTHORIZED, "no key")
	main.check(peer.create_client("127.0.0.1", 7777, "abc") == ERR_UNAUTHORIZED, "no key either")
	main.check(peer.create_client("127.0.0.1", 0, "a".repeat(64)) == ERR_INVALID_PARAMETER, "port 0")
	main.check(peer.create_client("not an address", 1, "a".repeat(64)) != OK, "no address")
	main.check(peer.create_server(70000) == ERR_INVALID_PARAMETER, "no port")
	main.check(peer.create_server(0, 0) == ERR_INVALID_PARAMETER, "no clients")
	peer.connection_timeout = -1.0
	main.check(peer.create_server(0) == ERR_INVALID_PARAMETER, "no time")
	peer.connection_timeout = 5.0
	peer.redundancy = 9
	main.check(peer.create_server(0) == ERR_INVALID_PARAMETER, "too many copies")
	peer.redundancy = 0
	main.check(peer.put_packet(PackedByteArray([1])) == ERR_UNCONFIGURED, "not connected")
	main.check(peer.get_connection_status() == MultiplayerPeer.CONNECTION_DISCONNECTED, "still nothing")
	main.check(peer.get_stats()["refused_packets"] == 0 and peer.get_local_port() == 0, "and no figures")
	peer.bind_address = "127.0.0.1"
	main.check(peer.create_server(0) == OK, "now it listens")
	main.check(peer.create_server(0) == ERR_ALREADY_IN_USE, "once")
	var other := GamekeeperMultiplayerPeer.new()
	other.bind_address = "127.0.0.1"
	main.check(other.create_server(peer.get_local_port()) == ERR_ALREADY_IN_USE, "the port is taken")
	peer.transfer_channel = 127
	main.check(peer.put_packet(PackedByteArray([1])) == ERR_INVALID_PARAMETER, "no such channel")
	peer.transfer_channel = 126
	main.check(peer.put_packet(PackedByteArray([1])) == OK, "nobody is there to get it")
	peer.set_target_peer(55)
	main.check(peer.put_packet(PackedByteArray([1])) == ERR_INVALID_PARAMETER, "nobody is called 55")
	main.check(peer.get_stats()["refused_packets"] == 0, "mistakes are no refusals")
	var network := GamekeeperConditions.new()
	network.loss = 2.0
	main.check(peer.simulate(GamekeeperMultiplayerPeer.SEND, network) == ERR_INVALID_PARAMETER, "loss")
	network.loss = 0.0
	network.delay = -1.0
	main.check(peer.simulate(GamekeeperMultiplayerPeer.SEND, network) == ERR_INVALID_PARAMETER, "delay")
	main.check(peer.simulate(7, null) == ERR_INVALID_PARAMETER, "direction")
	peer.close()
	main.check(peer.create_server(0) == OK, "a closed one can begin anew")
	peer.close()
	ends()
	main.check(GamekeeperKey.from_pem("nonsense") == null, "no key")
	var client := GamekeeperClient.new()
	main.check(client.start() == ERR_UNAUTHORIZED, "a node wants a key too")
	client.password = "a password for whoever answers"
	client.allow_any_server = true
	main.check(client.start() != OK, "a password is for a known server")
	client.free()
	main.pass_()

## A full queue, and the ways a client's own peer ends.
func ends() -> void:
	var server := GamekeeperMultiplayerPeer.new()
	server.bind_address = "127.0.0.1"
	main.check(server.create_server(0) == OK, "it listens")
	var client := connected_to(server)
	client.transfer_mode = MultiplayerPeer.TRANSFER_MODE_RELIABLE
	# Nothing leaves, so that the queue fills.
	var network := GamekeeperConditions.new()
	network.loss = 1.0
	main.check(client.simulate(GamekeeperMultiplayerPeer.SEND, network) == OK, "nothing leaves")
	var answer := OK
	for i in 70_000:
		answer = client.put_packet(PackedByteArray([1]))
		if answer != OK:
			break
	main.check(answer == ERR_BUSY, "the queue is full: %d" % answer)
	main.check(client.put_packet(PackedByteArray([1])) == ERR_BUSY, "and stays so")
	main.check(client.get_stats()["refused_packets"] == 2, "two were refused")
	# Nobody but the server can be left. Force ends at once, and nothing tells of it.
	var left: Array[int] = []
	client.peer_disconnected.connect(func(id: int) -> void: left.append(id))
	client.disconnect_peer(99)
	main.check(client.get_connection_status() == MultiplayerPeer.CONNECTION_CONNECTED, "99 is nobody")
	client.disconnect_peer(1, true)
	main.check(client.get_connection_status() == MultiplayerPeer.CONNECTION_DISCONNECTED, "it left")
	client.poll()
	main.check(left.is_empty(), "without a signal")
	var second := connected_to(server)
	second.peer_disconnected.connect(func(id: int) -> void: left.append(id))
	second.disconnect_peer(1)
	main.check(left.is_empty(), "not before a poll")
	wait([server, second], func() -> bool: return not left.is_empty())
	main.check(left.size() == 1 and left[0] == 1, "then with a signal")
	main.check(not second.get_end_text().is_empty(), "and a word why")
	server.close()

func connected_to(server: GamekeeperMultiplayerPeer) -> GamekeeperMultiplayerPeer:
	var client := GamekeeperMultiplayerPeer.new()
	main.check(client.create_client("127.0.0.1", server.get_local_port(), server.get_server_key()) == OK, "client")
	main.check(client.get_stats()["refused_packets"] == 0, "nothing refused yet")
	wait([server, client], func() -> bool:
		return client.get_connection_status() == MultiplayerPeer.CONNECTION_CONNECTED)
	return client

func wait(peers: Array, holds: Callable) -> void:
	for i in 3000:
		for peer: MultiplayerPeer in peers:
			peer.poll()
		if holds.call():
			return
		OS.delay_msec(10)
	main.fail("it never happened")

func state() -> String:
	return ""
