extends Node
## Loaded beside the demo by its test: prints the tree of nodes when two players have been there for a second.

var seen := 0.0

func _process(delta: float) -> void:
	var players := get_tree().root.get_node_or_null("Main/Players")
	if players == null or players.get_child_count() < 2:
		return
	seen += delta
	if seen < 1.0:
		return
	set_process(false)
	print("TREE")
	print(get_tree().root.get_tree_string_pretty())
	for player: Node2D in players.get_children():
		print("player %s stands at (%d, %d)" % [player.name, player.position.x, player.position.y])
	var text: String = get_tree().root.get_node("Main/Status").text
	print("the status line says: %s" % text)
	print("END OF TREE")
