extends "res://worlds.gd"
## A game at 60 Hz: every client says each tick what it does, the server tells everybody each tick where all are.

func _init() -> void:
	world = preload("res://play_world.gd")

func finished() -> void:
	for one in worlds:
		var stats: Dictionary = one.multiplayer.multiplayer_peer.get_stats()
		main.check(stats["refused_packets"] == 0, "nothing was refused")
	var first: Dictionary = worlds[0].multiplayer.multiplayer_peer.get_stats()
	print("PLAYED %d clients, ticks %d, states %d, packets received %d" % [
		worlds.size(), worlds[0].ticks, worlds[0].states, first["packets_received"],
	])
