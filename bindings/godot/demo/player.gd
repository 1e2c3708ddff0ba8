extends Node2D
## A square. Its own player moves it, and the synchronizer tells the others.

const SPEED := 200.0
## As the project's settings have it; without a window the engine has another size.
const WINDOW := Vector2(640, 400)

func _enter_tree() -> void:
	# It is called by the id of its player.
	set_multiplayer_authority(name.to_int())

func _ready() -> void:
	$Square.color = Color.from_hsv(float(name.hash() % 100) / 100.0, 0.7, 0.9)

func _physics_process(delta: float) -> void:
	if multiplayer.multiplayer_peer == null or not is_multiplayer_authority():
		return
	var way := Input.get_vector("ui_left", "ui_right", "ui_up", "ui_down")
	if DisplayServer.get_name() == "headless":
		way = Vector2.RIGHT.rotated(Time.get_ticks_msec() / 250.0)
	# Nobody leaves the window.
	position = (position + way * SPEED * delta).clamp(Vector2.ZERO, WINDOW)
