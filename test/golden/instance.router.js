// From server name or port to a backend, at connect. A route file holds backends in order of preference, one a line,
// '+' healthy, '-' not: "+10.0.0.5:3080\n-[fd00::7]:3080\n". An empty answer closes the connection.
// stat before read: the first fs exception in a session costs about 200 µs, and unknown names are many.
import fs from "fs";

var routes = "/run/landfall/routes/";
var quietly = { throwIfNoEntry: false };

function read(file) {
  return fs.statSync(routes + file, quietly) ? fs.readFileSync(routes + file, "utf8") : "";
}

// The first healthy backend; when none is, the first of all: missing health is no reason to turn users away.
function pick(route) {
  var at = route[0] == "+" ? 0 : route.indexOf("\n+") + 1;
  return route.slice(at + 1, route.indexOf("\n", at));
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
    return route ? pick(route) : "";
  } catch (e) {
    return "";
  }
}

function byPort(s) {
  try {
    var route = read("p/" + s.variables.server_port);
    return route ? pick(route) : "";
  } catch (e) {
    return "";
  }
}

function probe(s) {
  try {
    return "0123456789ab " + fs.readFileSync(routes + "ready", "utf8");
  } catch (e) {
    return "0123456789ab unreadable";
  }
}

export default { byName, byPort, probe };
