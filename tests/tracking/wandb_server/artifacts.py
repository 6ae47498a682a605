"""Operations on artifacts: versions by digest, their files and their lineage."""

from typing import Any

from tests.tracking.wandb_server.state import ENTITY, ServedArtifact, State


class Artifacts(State):
    """Artifacts by id."""

    def _CreateArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v["input"]
        name = (
            given["artifactCollectionName"]
            if "artifactCollectionName" in given
            else given["artifactCollectionNames"][0]
        )
        same = [a for a in self.artifacts.values() if (a.name, a.digest) == (name, given["digest"])]
        if same and same[0].committed:
            return {"createArtifact": {"artifact": self._artifact(same[0])}}
        run = given.get("runName") or ""
        artifact = ServedArtifact(
            f"artifact-{next(self.numbers)}",
            given["artifactTypeName"],
            name,
            given["digest"],
            run,
            [alias["alias"] for alias in given.get("aliases") or []],
            client_id=given.get("clientID") or "",
        )
        self.artifacts[artifact.id] = artifact
        return {"createArtifact": {"artifact": self._artifact(artifact)}}

    def _artifact(self, artifact: ServedArtifact) -> dict[str, Any]:
        return {
            "id": artifact.id,
            "state": "COMMITTED" if artifact.committed else "PENDING",
            "artifactSequence": {"id": f"sequence-{artifact.name}", "latestArtifact": None},
        }

    def _CreateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "f", "name": "m", "displayName": "m", "uploadHeaders": []}
        file["uploadUrl"] = f"{self.address}/storage/artifact/{v['artifactID']}/manifest"
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{v['artifactID']}", "file": file}}}

    def _UpdateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        identifier = v["artifactManifestID"]
        url = f"{self.address}/storage/artifact/{identifier.removeprefix('manifest-')}/manifest"
        file = {"id": "f", "name": "m", "displayName": "m", "uploadHeaders": [], "uploadUrl": url}
        return {"updateArtifactManifest": {"artifactManifest": {"id": identifier, "file": file}}}

    def _CreateArtifactFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for spec in v["input"]["artifactFiles"]:
            owner = {"id": spec["artifactID"]}
            path = f"{spec['artifactID']}/{spec['name']}"
            node = {
                "id": "f",
                "name": spec["name"],
                "displayName": spec["name"],
                "storagePath": path,
                "uploadUrl": f"{self.address}/storage/artifact/{path}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": owner,
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[v["artifactID"]]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _UseArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v["input"]
        artifact = self.artifacts[given["artifactID"]]
        if given["runName"] not in artifact.used_by:
            artifact.used_by.append(given["runName"])
        return {"useArtifact": {"artifact": {"id": artifact.id}}}

    def _ClientIDMapping(self, v: dict[str, Any]) -> dict[str, Any]:
        found = [a.id for a in self.artifacts.values() if a.client_id == v["clientID"]]
        return {"clientIDMapping": {"serverID": found[0]} if found else None}

    def _ArtifactType(self, v: dict[str, Any]) -> dict[str, Any]:
        kinds = [a.type for a in self.artifacts.values() if a.name == v["name"].partition(":")[0]]
        return {"project": {"artifact": {"artifactType": {"name": kinds[0]}} if kinds else None}}

    def _ArtifactByID(self, v: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[v["id"]]
        entity = {"id": "e1", "name": ENTITY, "__typename": "Entity"}
        project = {"id": "p", "internalId": "p", "name": "p", "entity": entity, "__typename": "Project"}
        sequence = {"id": "s", "name": artifact.name, "project": project, "__typename": "ArtifactSequence"}
        about = {
            "versionIndex": 0,
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "size": 1,
            "digest": artifact.digest,
            "commitHash": "0",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }
        return {"artifact": {**self._artifact(artifact), **about, "artifactSequence": sequence}}

    def _XXHashDigestsEnabled(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"xxhashDigestsEnabled": False}}
