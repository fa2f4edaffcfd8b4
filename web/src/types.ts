// Short names for the server's types, which are generated from its OpenAPI document. `Loose` adds that a field which
// can be null can also be absent.
import type { components } from "./api";

type Schemas = components["schemas"];
type NullKeys<T> = { [K in keyof T]-?: null extends T[K] ? K : never }[keyof T];
export type Loose<T> = Omit<T, NullKeys<T>> & { [K in NullKeys<T>]?: T[K] };

export type StudyList = Schemas["StudyList"];
export type StudyView = Schemas["StudyView"];
export type StudyResult = Schemas["StudyResult"];
export type StudyTable = Schemas["StudyTable"];
export type ClaimView = Schemas["ClaimView"];
export type Findings = Schemas["FindingsView"];
export type Workbench = Schemas["WorkbenchView"];
export type KitChoices = Schemas["KitChoices"];
export type KitView = Schemas["KitView"];
export type Tokens = Schemas["Tokens"];
export type NameKind = Schemas["FeatureView"]["name_kind"];
export type NodeRecord = Loose<Schemas["GraphNode"]>;
export type GraphView = Omit<Schemas["GraphView"], "nodes"> & { nodes: NodeRecord[] };
export type GraphEntry = Schemas["GraphEntry"];
export type ScoresView = Schemas["ScoresView"];
export type NodeDetail = Omit<Schemas["NodeDetail"], "node"> & { node: NodeRecord };
export type NodeLink = Loose<Schemas["Link"]>;
export type NodeEffects = Schemas["NodeEffects"];
export type EdgeDetail = Schemas["EdgeDetail"];
export type EdgeStep = Schemas["EdgeStep"];
export type LayerAttention = Loose<Schemas["LayerAttention"]>;
export type PatternView = Schemas["PatternView"];
export type LookView = Schemas["LookView"];
export type LookSide = Schemas["LookSide"];
export type PathView = Schemas["PathView"];
export type ArrangementView = Schemas["Arrangement"];
export type Suggestions = Schemas["Suggestions"];
export type Note = Schemas["Note"];
export type FeaturesOfList = Schemas["FeaturesOfList"];
export type DifferenceView = Schemas["DifferenceView"];
export type DifferenceNode = Schemas["DifferenceNodeView"];
export type DifferenceEdge = Schemas["DifferenceEdgeView"];
export type CompareView = Schemas["CompareView"];
export type ComparedFeature = Loose<Schemas["ComparedFeature"]>;
export type CircuitView = Schemas["CircuitView"];
export type CircuitGroup = Schemas["CircuitGroup"];
export type CircuitEdge = Schemas["CircuitEdge"];
export type CircuitEntry = Schemas["CircuitEntry"];
export type GroupChange = Partial<Schemas["GroupChangeBody"]> & Pick<Schemas["GroupChangeBody"], "verb">;
export type SwapView = Schemas["SwapView"];
export type ChangedCircuit = { graph: string; saved: string | null; groups: number; changes: GroupChange[] };
export type CircuitChoice = Omit<ChangedCircuit, "graph">;
export type FeatureView = Schemas["FeatureView"];
export type CardView = Schemas["CardView"];
export type ContextView = Schemas["ContextView"];
export type TokenWeight = Schemas["TokenWeightView"];
export type RelatedView = Schemas["RelatedView"];
export type LabelView = Schemas["LabelView"];
export type LabelConflict = Schemas["LabelConflict"];
export type ProbeView = Schemas["ProbeView"];
export type FeatureList = Schemas["FeatureList"];
export type FeatureRow = Loose<Schemas["FeatureRow"]>;
export type FiresView = Schemas["FiresView"];
export type EffectView = Schemas["EffectView"];
export type EffectChange = Schemas["EffectChange"];
export type AuditView = Schemas["AuditView"];
export type AuditPoints = Schemas["AuditPoints"];
export type Agreement = Schemas["AgreementView"];
export type Job = Schemas["Job"];
export type HarvestMade = Schemas["HarvestMade"];
export type Progress = Schemas["JobProgress"];
export type StepPair = Schemas["StepPair"];
export type Step = Schemas["StepView"];
export type EditBody = Schemas["EditBody"];
export type Prediction = NonNullable<Schemas["EffectBody"]["predict"]>;
export type JobBody =
  | ({ kind: "circuit" } & ChangedCircuit)
  | ({ kind: "swap"; group: string; prompt: string; other_group: string; add_bos: boolean } & ChangedCircuit)
  | Schemas["TraceBody"]
  | Schemas["EffectBody"]
  | Schemas["GenerateBody"]
  | Schemas["AuditBody"]
  | Schemas["StudyBody"];

/** The data in an exported file, which has no server. */
export type Embedded = Omit<Schemas["Embedded"], "graph" | "nodes"> & {
  graph: GraphView;
  nodes: Record<string, NodeDetail>;
};
