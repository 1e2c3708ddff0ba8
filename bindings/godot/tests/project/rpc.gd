extends "res://worlds.gd"
## Remote calls in all three modes, on channels, to everybody, and between clients over the server's relay.

func _init() -> void:
	world = preload("res://rpc_world.gd")
