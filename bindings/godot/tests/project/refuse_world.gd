extends Node

var main: Node
var joined := 0
var left := 0
var kicked := false
var goodbye := ""

func _ready() -> void:
	multiplayer.peer_connected.connect(func(_id: int) -> void: joined += 1)
	multiplayer.peer_disconnected.connect(func(_id: int) -> void: left += 1)

@rpc("authority", "call_remote", "reliable")
func bye() -> void:
	goodbye = "bye"

func state() -> String:
	return "joined %d, left %d, kicked %s" % [joined, left, kicked]
