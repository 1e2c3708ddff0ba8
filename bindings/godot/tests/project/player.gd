extends Node2D
## A player: the server moves it, and its own client says what is pressed.

func _enter_tree() -> void:
	# Spawned under the id of its client.
	$Input.set_multiplayer_authority(name.to_int())
