"""record.py: writes NAME.json beside each NAME.jinja: cases, and what Python's jinja2 makes of them.

The settings are those that chat templates are written for: trim_blocks, lstrip_blocks, loop controls, a sandbox, tojson
without ASCII escapes, raise_exception, strftime_now (here always the same time) and generation blocks.
"""
import datetime
import glob
import json
import os

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2025, 7, 26, 12, 0, 0)


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what an assistant says; it renders as its content."""
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def raise_exception(message):
    raise jinja2.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals.update(raise_exception=raise_exception, strftime_now=NOW.strftime)
    return made


def say(role, content, **more):
    return {"role": role, "content": content, **more}


PICTURE = [{"type": "text", "text": "What is\nthis? "}, {"type": "image"}, {"type": "text", "text": " Ünd das? 🙂"}]
LAMP = {"type": "function", "function": {
    "name": "set-lamp", "description": "Switches a \"lamp\" & dims it <b>.", "parameters": {
        "type": "object", "required": ["room"], "properties": {
            "room": {"type": "string", "enum": ["kitchen", "Küche", "o'ffice"]},
            "level": {"type": ["integer", "null"]},
            "scenes": {"type": "array", "items": {"type": "object", "properties": {"at": {"type": "number"}}}}}}}}
CLOCK = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object"}}}
CALLS = [
    say("user", "Light, please"),
    say("assistant", None, tool_calls=[
        {"type": "function", "function": {"name": "set-lamp", "arguments": {
            "room": "Küche", "level": 3, "on": True, "scene": None, "x": 0.5, "list": [1, "a\"b\n", {}]}}},
        {"name": "now<>&", "arguments": "{}"}]),
    say("tool", "ok"), say("tool", {"time": "12:00", "zone": ["é", 1.0]}), say("assistant", "Done: it is noon.")]
TEXTS = [{"title": "First", "text": "one two three\nfour", "score": 0.5, "kind": "b"},
         {"title": "", "text": "word", "score": 2.25, "kind": "a"},
         {"title": "A rather long title indeed", "text": "zwei  Wörter hier", "score": 1.125, "kind": "b"},
         {"title": "Last", "text": "never shown", "score": 3, "kind": "a"}]

CONVERSATIONS = {
    "nothing": {"messages": []},
    "question": {"messages": [say("user", "Hello")], "add_generation_prompt": True},
    "system": {"messages": [say("system", " You are a robot.\n"), say("user", "  Pick up the cup  ")],
               "add_generation_prompt": True},
    "turns": {"messages": [say("system", "S"), say("user", "a\nb"), say("assistant", "<think>\nhm\n</think>\n\nc"),
                           say("user", "d é 🙂"), say("assistant", "<think>\nwell\n</think>\n\nE")]},
    "wrong_order": {"messages": [say("assistant", "I begin"), say("assistant", "and go on")]},
    "reasoning": {"messages": [say("user", "why?"), say("assistant", "because", reasoning_content="\nso it is\n"),
                               say("user", "<result>4</result>"), say("assistant", "four", reasoning_content="2+2")],
                  "add_generation_prompt": True, "enable_thinking": False},
    "parts": {"messages": [say("user", PICTURE), say("note", "skipped?"), say("assistant", "A cup")],
              "add_generation_prompt": True, "enable_thinking": True},
    "picture_by_system": {"messages": [say("system", PICTURE), say("user", "Hm")]},
    "odd_part": {"messages": [say("user", [{"type": "sound"}])]},
    "tools": {"messages": [say("user", "Light, please")], "tools": [LAMP, CLOCK], "add_generation_prompt": True},
    "calls": {"messages": CALLS, "tools": [LAMP], "date_string": "1 Jan 1970"},
    "documents": {"messages": [say("system", "x"), say("user", "FIND it"), say("assistant", "äh")], "documents": TEXTS},
    "two_documents": {"messages": [], "documents": TEXTS[:2]},
    "replies": {"messages": [say("user", "top", replies=[say("user", "inner", replies=[say("user", "deep")])]),
                             say("user", "next")]},
}


def record(template, variables):
    try:
        return {"expected": template.render(**variables)}
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        return {"error": str(error)}


def main():
    for path in sorted(glob.glob(os.path.join(HERE, "*.jinja"))):
        with open(path, encoding="utf-8") as file:
            template = environment().from_string(file.read())
        cases = []
        for name, conversation in CONVERSATIONS.items():
            variables = {"bos_token": "<s>", "eos_token": "</s>", **conversation}
            cases.append({"case": name, "vars": variables, **record(template, variables)})
        with open(path[:-len("jinja")] + "json", "w", encoding="utf-8") as file:
            json.dump(cases, file, ensure_ascii=False, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
