"""Operations on projects and their reports."""

from typing import Any

from tests.tracking.wandb_server.state import ENTITY, Refused, State


class Reports(State):
    """Reports by id."""

    def _GetProjects(self, v: dict[str, Any]) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        about = {"entityName": ENTITY, "createdAt": "2026-01-01T00:00:00", "isBenchmark": False, "user": None}
        edges = [{"node": {"__typename": "Project", "id": name, "name": name, **about}} for name in names]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"edges": edges, "pageInfo": page}}

    def _ProjectViews(self, v: dict[str, Any]) -> dict[str, Any]:
        if v["project"] not in {run.project for run in self.runs.values()}:
            return {"project": None}
        of_project = [each for each in self.reports.values() if each["projectName"] == v["project"]]
        edges = [{"node": {**self._view(each["id"]), "user": None}, "cursor": each["id"]} for each in of_project]
        return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def _ProjectInternalId(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": f"project-{v['projectName']}", "internalId": f"project-{v['projectName']}"}}

    def _upsertView(self, v: dict[str, Any]) -> dict[str, Any]:
        inserted = v["id"] is None
        identifier = v["id"] or f"report-{next(self.numbers)}"
        if not inserted and identifier not in self.reports:
            raise Refused(404, f"view {identifier} not found")
        self.reports[identifier] = {**v, "id": identifier}
        return {"upsertView": {"view": self._view(identifier), "inserted": inserted}}

    def _deleteView(self, v: dict[str, Any]) -> dict[str, Any]:
        gone = self.reports.pop(v["id"], None)
        return {"deleteView": {"success": gone is not None, "pendingDrafts": 0, "__typename": "DeleteViewPayload"}}

    def _view(self, identifier: str) -> dict[str, Any]:
        report = self.reports[identifier]
        project = {"id": "p", "name": report["projectName"], "entityName": report["entityName"]}
        kept = {key: report[key] for key in ("id", "type", "name", "displayName", "description", "spec")}
        return {**kept, "project": project, "updatedAt": "2026-01-01T00:00:00", "createdAt": "2026-01-01T00:00:00"}
