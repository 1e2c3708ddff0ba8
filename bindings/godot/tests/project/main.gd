extends Node
## One engine process of a test: `-- scenario=rpc role=server clients=8`. The server says what the client process
## needs to know in a line READY; who is content says PASS and ends with 0, who is not says FAIL and ends with 1.

const PATIENCE_MSEC := 90_000

var options := {}
var _over := false

func _ready() -> void:
	Engine.max_fps = 60
	for argument in OS.get_cmdline_user_args():
		var parts := argument.split("=", true, 1)
		options[parts[0]] = parts[1] if parts.size() > 1 else ""
	var script: GDScript = load("res://%s.gd" % options["scenario"])
	if script == null or not script.can_instantiate():
		return fail("the script of %s is none" % options["scenario"])
	var scenario: Node = script.new()
	scenario.name = "Scenario"
	scenario.set("main", self)
	add_child(scenario)
	scenario.call(options["role"])

func _process(_delta: float) -> void:
	if Time.get_ticks_msec() > PATIENCE_MSEC + 3000 * number("seconds", 0):
		fail("out of time: %s" % get_node("Scenario").call("state"))

func number(option: String, default: int) -> int:
	return int(options.get(option, default))

func ready_with(values: Dictionary) -> void:
	print("READY ", JSON.stringify(values))

func pass_() -> void:
	_finish("PASS", 0)

func fail(text: String) -> void:
	_finish("FAIL %s" % text, 1)

func check(holds: bool, text: String) -> bool:
	if not holds:
		fail(text)
	return holds

func _finish(text: String, code: int) -> void:
	if _over:
		return
	_over = true
	print(text)
	get_tree().quit(code)

## A branch of the tree with a multiplayer of its own, so that one process has many players.
func branch(called: String, peer: MultiplayerPeer, world: GDScript) -> Node:
	var root := Node.new()
	root.name = called
	add_child(root)
	var api := SceneMultiplayer.new()
	get_tree().set_multiplayer(api, root.get_path())
	var node: Node = world.new()
	node.name = "World"
	node.set("main", self)
	root.add_child(node)
	api.multiplayer_peer = peer
	return node

## Ends a branch as a game leaves: its peer is closed and forgotten.
func close_branch(world: Node) -> void:
	var root := world.get_parent()
	var path := root.get_path()
	var api := get_tree().get_multiplayer(path)
	if api.multiplayer_peer != null:
		api.multiplayer_peer.close()
		api.multiplayer_peer = null
	root.free()
	get_tree().set_multiplayer(null, path)
