// From server name or port to a backend, at connect. Written for njs 0.7.9; paths are relative to nginx's working
// directory, the routes' folder, which is 2 µs cheaper than absolute ones. An empty answer closes the connection.
//
// A route file: its slot, tenant and options; the backends to choose from, one a line; after an empty line the others,
// nearest first. '+' is healthy, '-' is not: "20000 acme v2 source\n+10.0.0.5:3080\n+10.0.0.6:3080\n\n-[fd00::7]:3080\n".
// Options (edge/agent/routes/content.ts):
//   v1, v2      the backend gets the client's address by this version of the PROXY protocol
//   source      the backend follows from the client's address
//   alpn        names are also served by ALPN: `n/acme.com@postgresql` beside `n/acme.com`
//   full        the tenant has as many sessions here as it may have
//   block=…     clients that have as many of them as one source may have: ranges as in allow
//   allow=…     client addresses that may connect: ranges of hexadecimal numbers in order, `a-b,c-d`
import fs from "fs";

var quietly = { throwIfNoEntry: false };
// The file of the route that was read last.
var from = "";

// stat before read: the first fs exception in a session costs about 200 µs, and unknown names are many.
function read(file) {
  if (!fs.statSync(file, quietly)) {
    return "";
  }
  from = file;
  return fs.readFileSync(file, "utf8");
}

// Counts a connection that leads nowhere, and closes it. The size is limited, since anybody can make such connections, and
// the agent, which reads and replaces the file, may be gone.
function refuse(reason, what) {
  try {
    var file = "../sessions/refused";
    if (fs.statSync(file).size < 1048576) {
      fs.appendFileSync(file, reason + " " + what + "\n");
    }
  } catch (e) {}
  return "";
}

// The backends to choose from, each with its sign. njs keeps no state between sessions, and neither nginx's own count of
// connections nor a client's port is even: so one is chosen by chance, or by the client's address.
function pick(s, route, start, isSticky) {
  var end = route.indexOf("\n", start);
  if (route[end + 1] != "+" && route[end + 1] != "-") {
    return route.slice(start + 1, end);
  }
  var rest = route.indexOf("\n\n");
  var lines = route.slice(start, rest < 0 ? route.length - 1 : rest).split("\n");
  if (!isSticky) {
    return lines[Math.floor(Math.random() * lines.length)].slice(1);
  }
  // Rendezvous: a backend that comes or goes moves only its own share of the clients.
  var address = s.variables.remote_addr;
  var best = "";
  var most = -1;
  for (var i = 0; i < lines.length; i++) {
    var backend = lines[i].slice(1);
    var score = hash(address + " " + backend);
    if (score > most) {
      most = score;
      best = backend;
    }
  }
  return best;
}

// FNV-1a with a last mix (murmur3's): without it, texts that differ at the end have similar numbers.
function hash(text) {
  var h = 0x811c9dc5;
  for (var i = 0; i < text.length; i++) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function isIn(s, ranges) {
  var address = s.rawVariables.binary_remote_addr.toString("hex");
  var list = ranges.split(",");
  for (var i = 0; i < list.length; i++) {
    var bounds = list[i].split("-");
    // Numbers of the same length, 8 digits or 32, are compared as text.
    if (bounds[0].length == address.length && bounds[0] <= address && address <= bounds[1]) {
      return true;
    }
  }
  return false;
}

// Chooses, and tells the agent whose session this is: from outside, a session does not show its server name. The session
// goes on when there is no room to write that down.
function open(s, route) {
  var v = s.variables;
  var head = route.indexOf("\n");
  var owner = route.slice(0, head);
  var space = owner.indexOf(" ", owner.indexOf(" ") + 1);
  var isSticky = false;
  if (space > 0) {
    var options = owner.slice(space + 1).split(" ");
    owner = owner.slice(0, space);
    for (var i = 0; i < options.length; i++) {
      var option = options[i];
      if (option == "v1" || option == "v2") {
        v.via = option;
      } else if (option == "source") {
        isSticky = true;
      } else if (option == "full" || (option.startsWith("block=") && isIn(s, option.slice(6)))) {
        return refuse("limit", owner);
      } else if (option.startsWith("allow=") && !isIn(s, option.slice(6))) {
        return refuse("address", owner);
      }
    }
  }
  var backend = pick(s, route, head + 1, isSticky);
  v.owner = owner;
  try {
    fs.appendFileSync(
      "../sessions/opened",
      owner + " " + backend + " " + v.connection + " " + v.remote_addr + " " + v.remote_port + " " + v.edge_port + "\n",
    );
  } catch (e) {}
  return backend;
}

// What nginx.conf lets pass as a name, for names that are found elsewhere: a path is made of them.
function isName(name) {
  return name.length > 0 && name.length <= 253 && !/[^a-z0-9_.-]|\.\.|^\.|\.$/.test(name);
}

function byWildcard(name) {
  var dot = name.indexOf(".");
  return dot > 0 ? read("w/" + name.slice(dot + 1)) : "";
}

// The name that a derived name stands for, as acme.com for kube.acme.com if a template is ["kube.", "name", ""]; "" if it
// is none.
function original(name) {
  var templates = [];
  for (var i = 0; i < templates.length; i++) {
    var before = templates[i][0];
    var after = templates[i][2];
    if (name.startsWith(before) && name.endsWith(after)) {
      var middle = name.slice(before.length, name.length - after.length);
      if (templates[i][1] == "hex") {
        middle = /[^0-9a-f]/.test(middle) ? "" : Buffer.from(middle, "hex").toString().toLowerCase();
      }
      if (isName(middle)) {
        return middle;
      }
    }
  }
  return "";
}

// An exact name wins over a derived one, and a derived one over a wildcard.
function find(name) {
  var route = read("n/" + name);
  if (route) {
    return route;
  }
  var of = original(name);
  route = of ? read("n/" + of) || byWildcard(of) : "";
  return route || byWildcard(name);
}

// The route of a server name that all tenants share: the client says whose it means in ALPN, as `teleport-auth@acme.com`.
function findShared(alpn) {
  var tries = 8;
  var entries = alpn.split(",");
  for (var i = 0; i < entries.length && tries > 0; i++) {
    var at = entries[i].indexOf("@");
    var name = entries[i].slice(at + 1).toLowerCase();
    if (at > 0 && isName(name)) {
      tries--;
      var route = find(name);
      if (route) {
        return route;
      }
    }
  }
  return "";
}

// The route that the name's tenant has for one of the client's protocols, or else for the name.
function byAlpn(s, route) {
  var head = route.slice(0, route.indexOf("\n"));
  var list = head.indexOf(" alpn") > 0 ? s.variables.ssl_preread_alpn_protocols : "";
  if (!list) {
    return route;
  }
  var file = from;
  var entries = list.split(",");
  for (var i = 0; i < entries.length && i < 8; i++) {
    var other = /^[A-Za-z0-9._-]{1,32}$/.test(entries[i]) ? read(file + "@" + entries[i]) : "";
    if (other) {
      return other;
    }
  }
  return route;
}

// A file may vanish between stat and read: that is an unknown name too.
function byName(s) {
  var v = s.variables;
  var name = v.name;
  if (!name) {
    return refuse(v.ssl_preread_protocol ? "noname" : "plain", "-");
  }
  name = name.toLowerCase();
  try {
    var isShared = [].indexOf(name) >= 0;
    var route = isShared ? findShared(v.ssl_preread_alpn_protocols) : find(name);
    if (route) {
      return open(s, byAlpn(s, route));
    }
    return name == "landfall-probe.invalid" ? "unix:/run/landfall/sockets/witness.sock" : refuse("unknown", name);
  } catch (e) {
    return refuse("unknown", name);
  }
}

// By the first bytes of a connection. What is no TLS may be PostgreSQL, which asks for it first.
function byHello(s) {
  var v = s.variables;
  if (v.name || v.ssl_preread_protocol) {
    return byName(s);
  }
  v.via = "asked";
  return "unix:/run/landfall/sockets/asked.sock";
}

function byPort(s) {
  var port = s.variables.server_port;
  try {
    var route = read("p/" + port);
    return route ? open(s, route) : refuse("unknown", port);
  } catch (e) {
    return refuse("unknown", port);
  }
}

// What goes to a backend before the client's first bytes. TLS clients speak first: the header goes with their hello.
function ahead(s) {
  var via = s.variables.via;
  if (via == "asked") {
    answer(s);
  } else if (via) {
    s.on("upstream", function (data, flags) {
      s.off("upstream");
      s.sendUpstream(via == "v2" ? header2(s) : header1(s));
      s.sendUpstream(data, flags);
    });
  }
}

// On ports of their own servers may speak first. There nginx writes the header, version 1, at connect; it passes this
// filter, and most backends must not get it.
function aheadByPort(s) {
  var via = s.variables.via;
  if (via != "v1") {
    s.on("upstream", function () {
      s.off("upstream");
      if (via == "v2") {
        s.sendUpstream(header2(s));
      }
    });
  }
}

// PostgreSQL's clients ask for TLS with SSLRequest, 8 bytes, and send their ClientHello after an S. They may ask for
// GSSAPI before. Here both are answered, and what follows is routed as any TLS, in one hop more: it learns of the client
// by the PROXY protocol, and asks the backend what the client asked. Whatever else is not TLS ends here.
var sslRequest = "0000000804d2162f";

function answer(s) {
  var asked = "";
  s.on("upstream", function (data, flags) {
    asked += data.toString("hex");
    if (asked.length < 16 && !flags.last) {
      return;
    }
    if (asked == "0000000804d21630") {
      asked = "";
      s.sendDownstream("N");
      return;
    }
    s.off("upstream");
    if (asked != sslRequest) {
      refuse("plain", "-");
      throw new Error("not TLS");
    }
    s.sendUpstream(header1(s));
    s.sendDownstream("S");
  });
}

// The client has its S. The backend is asked as well, and gets the ClientHello, which is held so long, after its own S.
function ask(s) {
  var via = s.variables.via;
  var held = [];
  var size = 0;
  var isLast = false;
  s.on("upstream", function (data, flags) {
    if (held.length == 0) {
      if (via) {
        s.sendUpstream(via == "v2" ? header2(s) : header1(s));
      }
      s.sendUpstream(Buffer.from(sslRequest, "hex"), { flush: true });
    }
    held.push(data);
    size += data.length;
    isLast = isLast || flags.last;
    if (size > 131072) {
      throw new Error("too much before the backend's answer");
    }
  });
  s.on("downstream", function (data) {
    if (data.length == 0) {
      return;
    }
    if (data[0] != 83) {
      throw new Error("the backend has no TLS");
    }
    s.off("upstream");
    s.off("downstream");
    s.sendUpstream(Buffer.concat(held), { flush: true, last: isLast });
    if (data.length > 1) {
      s.sendDownstream(data.slice(1));
    }
  });
}

function header1(s) {
  var v = s.variables;
  var family = v.remote_addr.indexOf(":") < 0 ? "TCP4 " : "TCP6 ";
  return "PROXY " + family + v.remote_addr + " " + v.edge_addr + " " + v.remote_port + " " + v.edge_port + "\r\n";
}

function header2(s) {
  var v = s.variables;
  var isV4 = v.remote_addr.indexOf(":") < 0;
  var ports = [v.remote_port >> 8, v.remote_port & 255, v.edge_port >> 8, v.edge_port & 255];
  var length = isV4 ? 12 : 36;
  return Buffer.concat([
    Buffer.from("0d0a0d0a000d0a515549540a21" + (isV4 ? "1100" : "2100") + length.toString(16).padStart(2, "0"), "hex"),
    bytesOf(v.remote_addr),
    bytesOf(v.edge_addr),
    Buffer.from(ports),
  ]);
}

function bytesOf(address) {
  if (address.indexOf(":") < 0) {
    return Buffer.from(address.split(".").map(Number));
  }
  var halves = address.split("::");
  var groups = halves[0] ? halves[0].split(":") : [];
  var last = halves[1] ? halves[1].split(":") : [];
  while (groups.length + last.length < 8) {
    groups.push("0");
  }
  var hex = groups.concat(last).map(function (group) {
    return group.padStart(4, "0");
  });
  return Buffer.from(hex.join(""), "hex");
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

export default { byHello, byName, byPort, ahead, aheadByPort, ask, probe };
