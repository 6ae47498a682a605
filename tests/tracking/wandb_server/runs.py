"""Operations on runs, and on the files and lines of history that belong to them."""

import json
from typing import Any

from tests.tracking.wandb_server.state import ENTITY, Refused, ServedRun, State


class Runs(State):
    """Runs by name."""

    def stream(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take lines of a run's files."""
        run = self.runs[path.split("/")[-2]]
        with self.lock:
            for name, chunk in (body.get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    run.lines |= dict(enumerate(chunk["content"], start=chunk["offset"]))
                elif name == "wandb-summary.json":
                    run.summary = json.loads(chunk["content"][-1])
            if body.get("complete"):
                run.exit_code = body.get("exitcode")
                run.state = "finished" if not run.exit_code else "failed"
        return {"exitcode": None, "limits": {}}

    def _UpsertBucket(self, v: dict[str, Any]) -> dict[str, Any]:
        name = v.get("name") or (v["id"] or "").removeprefix("run-")
        project = v.get("project") or "uncategorized"
        if self.projects is not None and project not in self.projects:
            raise Refused(404, f"project {project} not found")
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServedRun(name, project, v.get("entity")))
        run.opened += v.get("commit") is not None or v.get("displayName") is not None
        run.display_name = v.get("displayName") or run.display_name
        run.group = v.get("groupName") or run.group
        run.job_type = v.get("jobType") or run.job_type
        run.state = v.get("state") or run.state
        if v.get("tags") is not None:
            run.tags = list(v["tags"])
        if v.get("config"):
            given = {key: entry["value"] for key, entry in json.loads(v["config"]).items()}
            run.about |= given.pop("_wandb", {})
            run.config |= given
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    _UpsertRun = _UpsertBucket

    def _bucket(self, run: ServedRun) -> dict[str, Any]:
        project = {"id": f"project-{run.project}", "name": run.project, "entity": {"id": "e1", "name": ENTITY}}
        lines = [run.lines[offset] for offset in sorted(run.lines)]
        return {
            "id": f"run-{run.name}",
            "name": run.name,
            "displayName": run.display_name,
            "description": None,
            "notes": None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": None,
            "tags": run.tags,
            "group": run.group,
            "jobType": run.job_type,
            "state": run.state,
            "project": project,
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(lines[-1:]),
            "eventsTail": "[]",
            "wandbConfig": json.dumps({key: run.about[key] for key in ("t",) if key in run.about}),
            "historyKeys": None,
            "commit": None,
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00",
            "systemMetrics": "{}",
            "readOnly": False,
            "user": {"name": ENTITY, "username": ENTITY},
            "projectId": "1",
            "internalId": "1",
        }

    def _RunResumeStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        project = {"id": "p", "name": v["project"], "entity": {"id": "e1", "name": ENTITY}}
        return {"model": {**project, "bucket": self._bucket(run) if run else None}}

    def _Run(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        return {"project": {"internalId": "1", "run": self._bucket(run) if run else None}}

    _GetRun = _GetLightRun = _LightRun = _Run

    def _RunStoppedStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def _CreateRunFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": n, "uploadUrl": f"{self.address}/storage/run/{v['run']}/{n}"} for n in v["files"]]
        return {"createRunFiles": {"runID": f"run-{v['run']}", "uploadHeaders": [], "files": files}}
