"use strict";

// The name is the page's `#name`, or a guest's.
const name = decodeURIComponent(location.hash.slice(1)) || "guest" + Math.floor(Math.random() * 1000);
const state = document.getElementById("state");
const log = document.getElementById("log");
const text = document.getElementById("text");
const MAX_LINES = 200;
let socket = null;

function show(saying) {
  const line = document.createElement("li");
  const who = document.createElement("b");
  // As text: nobody's saying is markup.
  who.textContent = saying.name;
  line.append(who, document.createTextNode(saying.text));
  log.append(line);
  while (log.children.length > MAX_LINES) log.firstChild.remove();
  state.textContent = "you are " + name + "; " + saying.here + " here";
}

function open() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(scheme + "//" + location.host + "/chat/" + encodeURIComponent(name));
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => {
    state.textContent = "connecting again";
    setTimeout(open, 1000);
  };
}

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (text.value && socket.readyState === WebSocket.OPEN) {
    socket.send(text.value);
    text.value = "";
  }
});

open();
