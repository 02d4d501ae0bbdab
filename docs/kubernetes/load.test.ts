/** No cluster is needed for what usually goes wrong in a manifest: misspelt fields, and parts that do not fit each other. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadAll } from "js-yaml";
import { Deployment, type IDeployment } from "kubernetes-models/apps/v1";
import { Job, type IJob } from "kubernetes-models/batch/v1";
import { NetworkPolicy, type INetworkPolicy } from "kubernetes-models/networking.k8s.io/v1";
import { Namespace, Service, type INamespace, type IService } from "kubernetes-models/v1";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const KINDS = { Deployment, Job, Namespace, NetworkPolicy, Service };
const MODULES: Readonly<Record<keyof Models, string>> = {
  Deployment: "apps/v1",
  Job: "batch/v1",
  Namespace: "v1",
  NetworkPolicy: "networking.k8s.io/v1",
  Service: "v1",
};

type Models = {
  Deployment: IDeployment;
  Job: IJob;
  Namespace: INamespace;
  NetworkPolicy: INetworkPolicy;
  Service: IService;
};
type Manifest = { readonly kind: keyof Models; readonly metadata: { readonly name: string } };

const manifests = loadAll(
  readFileSync(join(import.meta.dirname, "load.yaml"), "utf8"),
) as Manifest[];

function find<Kind extends keyof Models>(kind: Kind, name: string): Models[Kind] {
  const found = manifests.find((one) => one.kind === kind && one.metadata.name === name);
  if (!found) throw new Error(`load.yaml has no ${kind} ${name}`);
  return found as unknown as Models[Kind];
}

/** What is wrong with a manifest by Kubernetes' schema: a missing or wrong value. An unknown field is none. */
function schemaErrors(manifest: Manifest): string[] {
  try {
    new KINDS[manifest.kind](structuredClone(manifest)).validate();
    return [];
  } catch (error) {
    return [String(error)];
  }
}

/** What is wrong by the types of Kubernetes' API, as the TypeScript compiler sees it: an unknown field above all. */
function typeErrors(texts: readonly Manifest[]): string[] {
  const file = join(import.meta.dirname, "load.generated.ts");
  const source = texts
    .map(
      (manifest, index) =>
        `import type { I${manifest.kind} as Kind${index} } from "kubernetes-models/${MODULES[manifest.kind]}";\n` +
        `export const manifest${index}: Kind${index} = ${JSON.stringify(manifest)};`,
    )
    .join("\n");
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const original = host.getSourceFile.bind(host);
  host.getSourceFile = (name, ...rest) =>
    name === file
      ? ts.createSourceFile(name, source, ts.ScriptTarget.ES2022)
      : original(name, ...rest);
  return ts
    .getPreEmitDiagnostics(ts.createProgram([file], options, host))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

/** What the load test relies on, of each of the two programs. */
const pods = [
  { name: "server", template: find("Deployment", "server").spec?.template },
  { name: "client", template: find("Job", "client").spec?.template },
];

describe("docs/kubernetes/load.yaml", () => {
  it("is valid by Kubernetes' own schema", () => {
    expect(manifests.map(({ kind }) => kind)).toEqual([
      "Namespace",
      "NetworkPolicy",
      "NetworkPolicy",
      "NetworkPolicy",
      "Service",
      "Deployment",
      "Job",
    ]);
    expect(manifests.flatMap(schemaErrors)).toEqual([]);
    const broken = structuredClone(find("Job", "client"));
    broken.spec!.parallelism = "three" as never;
    expect(schemaErrors(broken as Manifest)).not.toEqual([]);
  });

  it("has no field that Kubernetes does not know", { timeout: 30_000 }, () => {
    const misspelt = structuredClone(find("Job", "client"));
    Object.assign(misspelt.spec!, { paralelism: 3 });
    const errors = typeErrors([...manifests, misspelt as Manifest]);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain("paralelism");
  });

  it("keeps everything in one namespace", () => {
    const namespaces = manifests.slice(1).map((one) => Object(one.metadata) as object);
    for (const metadata of namespaces)
      expect(metadata).toMatchObject({ namespace: "tcp-failure-lab" });
  });

  it.each(pods)("holds the $name as the namespace demands: restricted, and limited", (pod) => {
    const spec = pod.template!.spec!;
    expect(spec).toMatchObject({
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    });
    for (const container of spec.containers) {
      expect(container.securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      expect(Object.keys(container.resources?.limits ?? {})).toEqual(["cpu", "memory"]);
    }
  });

  it("leads the clients to the server, by the same name, port and labels", () => {
    const service = find("Service", "server").spec!;
    const server = pods[0]!.template!;
    const client = pods[1]!.template!;
    expect(server.metadata?.labels).toEqual(service.selector);
    const { name, containerPort } = server.spec!.containers[0]!.ports![0]!;
    expect(service.ports).toMatchObject([{ port: containerPort, targetPort: name }]);
    expect(client.spec!.containers[0]!.env).toEqual(
      expect.arrayContaining([
        { name: "HOST", value: "server" },
        { name: "PORT", value: String(containerPort) },
        { name: "ALLOW_REMOTE", value: "true" },
      ]),
    );
  });

  it("lets load out to the server only, and lets nothing but load in", () => {
    const policy = (name: string) => find("NetworkPolicy", name).spec!;
    expect(policy("nothing")).toEqual({ podSelector: {}, policyTypes: ["Ingress", "Egress"] });
    const [server, client] = pods.map(({ template }) => ({
      podSelector: { matchLabels: template!.metadata!.labels },
    }));
    const ports = [{ protocol: "TCP", port: 3000 }];
    expect(policy("server")).toEqual({
      ...server,
      policyTypes: ["Ingress"],
      ingress: [{ from: [client], ports }],
    });
    expect(policy("client")).toMatchObject({ ...client, policyTypes: ["Egress"] });
    expect(policy("client").egress![0]).toEqual({ to: [server], ports });
    for (const { ports: more } of policy("client").egress!.slice(1))
      expect(more!.every(({ port }) => port === 53)).toBe(true);
  });

  it("ends by itself, and does not repeat what failed", () => {
    expect(find("Job", "client").spec).toMatchObject({
      parallelism: 3,
      completions: 3,
      backoffLimit: 0,
      activeDeadlineSeconds: 120,
    });
  });
});
