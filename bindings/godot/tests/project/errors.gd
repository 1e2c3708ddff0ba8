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
	main.check(GamekeeperKey.from_pem("nonsense") == null, "no key")
	var client := GamekeeperClient.new()
	main.check(client.start() == ERR_UNAUTHORIZED, "a node wants a key too")
	client.password = "a password for whoever answers"
	client.allow_any_server = true
	main.check(client.start() != OK, "a password is for a known server")
	client.free()
	main.pass_()

func state() -> String:
	return ""
