extends "res://worlds.gd"
## Spawners and synchronizers: the server's players appear at the clients, move, answer, and go.

func _init() -> void:
	world = preload("res://spawn_world.gd")
