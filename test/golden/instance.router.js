// From server name or port to a backend, at connect. Works on njs 0.7.9 and later; paths are relative to nginx's working
// directory, the routes' folder, which is 2 µs cheaper than absolute ones. An empty answer closes the connection.
//
// A route file: its slot and tenant; the backends to choose from, one a line; after an empty line the others, nearest
// first. '+' is healthy, '-' is not: "20000 acme\n+10.0.0.5:3080\n+10.0.0.6:3080\n\n-[fd00::7]:3080\n".
import fs from "fs";

var quietly = { throwIfNoEntry: false };

// stat before read: the first fs exception in a session costs about 200 µs, and unknown names are many.
function read(file) {
  return fs.statSync(file, quietly) ? fs.readFileSync(file, "utf8") : "";
}

// One of the lines that begin at `from`, by chance: njs keeps no state between sessions, and neither nginx's own count of
// connections nor a client's port is even.
function pick(route, from) {
  var end = route.indexOf("\n", from);
  if (route[end + 1] != "+" && route[end + 1] != "-") {
    return route.slice(from + 1, end);
  }
  var rest = route.indexOf("\n\n");
  var lines = route.slice(from, rest < 0 ? route.length - 1 : rest).split("\n");
  return lines[Math.floor(Math.random() * lines.length)].slice(1);
}

// Chooses, and tells the agent whose session this is: from outside, a session does not show its server name. The session
// goes on when there is no room to write that down.
function open(s, route) {
  var head = route.indexOf("\n");
  var owner = route.slice(0, head);
  var backend = pick(route, head + 1);
  var v = s.variables;
  v.owner = owner;
  try {
    fs.appendFileSync(
      "../sessions/opened",
      owner + " " + backend + " " + v.connection + " " + v.remote_addr + " " + v.remote_port + " " + v.server_port + "\n",
    );
  } catch (e) {}
  return backend;
}

// The exact name before its wildcard. A file may vanish between stat and read: that is an unknown name too.
function byName(s) {
  var name = s.variables.name;
  if (!name) {
    return "";
  }
  name = name.toLowerCase();
  try {
    var route = read("n/" + name);
    var dot = name.indexOf(".");
    if (!route && dot > 0) {
      route = read("w/" + name.slice(dot + 1));
    }
    return route ? open(s, route) : "";
  } catch (e) {
    return "";
  }
}

function byPort(s) {
  try {
    var route = read("p/" + s.variables.server_port);
    return route ? open(s, route) : "";
  } catch (e) {
    return "";
  }
}

// What the agent asks four times a second: which structure runs, whether this worker can read routes and note sessions.
function probe(s) {
  try {
    var ready = fs.readFileSync("ready", "utf8");
  } catch (e) {
    return "0123456789ab unreadable";
  }
  try {
    fs.accessSync("../sessions/opened", fs.constants.W_OK);
  } catch (e) {
    return "0123456789ab " + ready + " unwritable";
  }
  return "0123456789ab " + ready;
}

export default { byName, byPort, probe };
