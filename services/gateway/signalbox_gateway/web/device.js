// Approves a device: sign in if needed, type the code, look at what asks, decide.
"use strict";

const forms = Object.fromEntries(["sign-in", "find", "decide"].map((id) => [id, document.getElementById(id)]));
const message = document.getElementById("message");
let code = new URLSearchParams(location.search).get("user_code");

function show(id) {
  for (const [name, form] of Object.entries(forms)) form.hidden = name !== id;
}

function say(text, kind = "") {
  message.textContent = text;
  message.className = kind;
}

async function call(method, path, body) {
  const response = await fetch(`/api/v1/auth${path}`, {
    method,
    credentials: "same-origin",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : {};
  if (!response.ok) throw Object.assign(new Error(answer.detail || "Something went wrong."), answer);
  return answer;
}

async function start() {
  try {
    const person = await call("GET", "/me").catch(async (error) => {
      if (error.status !== 401) throw error;
      await call("POST", "/refresh");
      return call("GET", "/me");
    });
    document.getElementById("person").textContent = person.username;
    if (code) await look();
    else show("find");
  } catch (error) {
    if (error.status === 401) show("sign-in");
    else say(error.message, "bad");
  }
}

async function look() {
  try {
    const device = await call("GET", `/device?userCode=${encodeURIComponent(code)}`);
    document.getElementById("code").textContent = device.userCode;
    document.getElementById("client").textContent = device.clientName;
    document.getElementById("address").textContent = device.address || "unknown";
    document.getElementById("asked").textContent = new Date(device.requestedAt).toLocaleString();
    say("");
    show("decide");
  } catch (error) {
    code = null;
    say(error.status === 422 ? "This is no such code." : error.message, "bad");
    show("find");
  }
}

forms["sign-in"].addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target));
  try {
    await call("POST", "/login", fields);
    event.target.reset();
    say("");
    await start();
  } catch (error) {
    say(error.message, "bad");
  }
});

forms.find.addEventListener("submit", async (event) => {
  event.preventDefault();
  code = new FormData(event.target).get("code").trim();
  await look();
});

forms.decide.addEventListener("submit", async (event) => {
  event.preventDefault();
  const approve = event.submitter.value === "approve";
  try {
    await call("POST", "/device/decision", { userCode: code, approve });
    show("");
    say(approve ? "Approved. You can close this page." : "Refused.", approve ? "good" : "");
  } catch (error) {
    say(error.message, "bad");
  }
});

start();
