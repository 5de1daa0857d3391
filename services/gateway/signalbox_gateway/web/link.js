// Takes a link that is good once: a new password, an invitation, or an address. What it ends with behind the
// # is sent to no server but with the form, and taken out of the address at once.
"use strict";

const page = location.pathname.slice(1);
const token = location.hash.slice(1);
const titles = {
  "new-password": "Choose a new password",
  join: "Join Signalbox",
  "confirm-address": "Confirm your address",
};
const form = document.getElementById(page);
const message = document.getElementById("message");

function say(text, kind = "") {
  message.textContent = text;
  message.className = kind;
}

async function call(path, body) {
  const response = await fetch(`/api/v1/auth${path}`, {
    method: "POST",
    credentials: "omit",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : {};
  if (!response.ok) throw new Error(answer.detail || "Something went wrong.");
  return answer;
}

const steps = {
  "new-password": async (fields) => {
    if (fields.newPassword !== fields.again) throw new Error("The two are not the same.");
    const done = await call("/password/reset", {
      token,
      newPassword: fields.newPassword,
      endTokens: fields.endTokens === "on",
    });
    const left = done.tokensRemaining;
    return `It is set. ${left ? `${left} API ${left === 1 ? "token counts" : "tokens count"} still.` : ""}`;
  },
  join: async (fields) => {
    const made = await call("/register", { ...fields, invitation: token });
    return `Welcome, ${made.username}. You can sign in now.`;
  },
  "confirm-address": async () => {
    await call("/email/confirm", { token });
    return "It is confirmed.";
  },
};

history.replaceState(null, "", location.pathname);
document.getElementById("title").textContent = titles[page];
if (token) form.hidden = false;
else say("This link is not whole.", "bad");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const told = await steps[page](Object.fromEntries(new FormData(event.target)));
    form.hidden = true;
    say(told, "good");
  } catch (error) {
    say(error.message, "bad");
  }
});
