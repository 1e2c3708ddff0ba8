extends Node

var pressed := 0
