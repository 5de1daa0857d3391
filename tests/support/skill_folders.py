"""A folder as another system ships it: documents, and beside them a folder with a SKILL.md for each skill."""

from pathlib import Path

SHELLS = """\
# Shells that everybody has
---
apiVersion: agent.wecode.io/v1
kind: Shell
metadata:
  name: ClaudeCode
  namespace: default
  labels: {type: local_engine}
spec: {shellType: ClaudeCode, supportModel: []}
status: {state: Available}
---
apiVersion: agent.wecode.io/v1
kind: Shell
metadata: {name: Chat, namespace: default}
spec: {shellType: Chat, requiresWorkspace: false}
"""
RESOURCES = """\
---
apiVersion: agent.wecode.io/v1
kind: Ghost
metadata: {name: spec-ghost, namespace: default, user_id: 1}
spec:
  skills: [interactive, wiki_submit]
  mcpServers: {}
  systemPrompt: |
    You clarify what is wanted.
status: {state: Available}
---
apiVersion: agent.wecode.io/v1
kind: Bot
metadata: {name: spec-bot, namespace: default}
spec:
  ghostRef: {name: spec-ghost, namespace: default}
  shellRef: {name: ClaudeCode, namespace: default}
---
apiVersion: agent.wecode.io/v1
kind: Team
metadata: {name: spec-team, namespace: default}
spec:
  members:
    - role: leader
      botRef: {name: spec-bot, namespace: default}
      prompt: ""
  collaborationModel: solo
  bind_mode: [chat]
  workflow: {mode: solo}
---
apiVersion: agent.wecode.io/v1
kind: Workspace
metadata: {name: their-own, namespace: default}
spec: {}
"""
SKILLS = {
    "interactive": """\
---
description: "Asks with a form."
displayName: "Interactive form"
version: "1.0.0"
author: "Somebody"
tags: [form, question]
bindShells: [ClaudeCode]
provider: {module: provider, class: FormProvider}
tools:
  - {name: form, provider: form}
---
# Ask
""",
    "wiki_submit": "---\nname: wiki_submit\ndescription: Submits pages.\n---\nRead this.\n",
}
RESULT = {
    "shell/ClaudeCode",
    "shell/Chat",
    "ghost/spec-ghost",
    "bot/spec-bot",
    "team/spec-team",
    "skill/interactive",
    "skill/wiki_submit",
}


def shipped(folder: Path) -> Path:
    """Documents within the folders of skills belong to their packages, and are none."""
    files = {
        "01-public-shells.yaml": SHELLS,
        "02-public-resources.yaml": RESOURCES,
        "README.md": "# What this is\n",
        "skills/interactive/provider.py": "print('x')\n",
        "skills/interactive/examples/package.json": '{"name": "no document"}\n',
        "skills/wiki_submit/examples/bot.yaml": "kind: Bot\n",
        "skills/wiki_submit/scripts/submit.js": "console.log(1)\n",
        **{f"skills/{name}/SKILL.md": text for name, text in SKILLS.items()},
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
