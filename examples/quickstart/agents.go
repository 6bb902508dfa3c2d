package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/layercache/layercache/examples/quickstart/policies"
	"github.com/layercache/layercache/stores/policy"
)

// agentIDs are the agents of package policies in a fixed order, most active first. Their ids are combined with a mask
// that every run draws anew, so that no run meets the policies of another or of anybody else.
func agentIDs(mask policy.AgentID) []policy.AgentID {
	ids := make([]policy.AgentID, 0, policies.Count)
	for id := range policies.All() {
		ids = append(ids, masked(id, mask))
	}
	order := rand.New(rand.NewPCG(1, 2))
	order.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

// documents are the policies of those agents.
func documents(mask policy.AgentID) (map[policy.AgentID]*policy.Document, error) {
	docs := make(map[policy.AgentID]*policy.Document, policies.Count)
	for id, data := range policies.All() {
		doc, err := policy.ParseDocument(data)
		if err != nil {
			return nil, fmt.Errorf("the policy of %s: %w", id, err)
		}
		docs[masked(id, mask)] = doc
	}
	return docs, nil
}

func masked(id, mask policy.AgentID) policy.AgentID {
	for i := range id {
		id[i] ^= mask[i]
	}
	return id
}

// permission is one agent's right to use one tool.
type permission struct {
	Agent policy.AgentID `json:"agent"`
	Tool  string         `json:"tool"`
}

// action is what Decide is asked.
func (p permission) action() string { return "tool:" + p.Tool }

// permissions are those that enforced documents grant, in a fixed order that begins with one of each agent.
func permissions(ids []policy.AgentID, docs map[policy.AgentID]*policy.Document) []permission {
	var rounds [][]permission
	for _, id := range ids {
		if docs[id].Mode() != policy.Enforce {
			continue
		}
		round := 0
		for _, tool := range policies.Tools() {
			p := permission{Agent: id, Tool: tool}
			if !docs[id].Decide(p.action()).Allowed() {
				continue
			}
			if round == len(rounds) {
				rounds = append(rounds, nil)
			}
			rounds[round] = append(rounds[round], p)
			round++
		}
	}
	return slices.Concat(rounds...)
}

// without is doc without one of its permissions: a rule in front that denies it.
func without(doc *policy.Document, p permission) (*policy.Document, error) {
	draft := doc.Draft()
	draft.Version++
	draft.Rules = slices.Insert(draft.Rules, 0, policy.Rule{ActionPattern: p.action(), Decision: policy.Deny})
	return policy.NewDocument(draft)
}

// request is one check of the mix.
type request struct {
	agent  policy.AgentID
	action string
}

// mixture is a long sequence of checks as agents make them: a few are very active, most are not (Zipf, exponent 1.1).
func mixture(ids []policy.AgentID, seed uint64) []request {
	const length = 1 << 15
	random := rand.New(rand.NewPCG(seed, 3))
	rank := rand.NewZipf(random, 1.1, 1, uint64(len(ids)-1))
	tools := policies.Tools()
	mix := make([]request, length)
	for i := range mix {
		mix[i] = request{agent: ids[rank.Uint64()], action: permission{Tool: tools[random.IntN(len(tools))]}.action()}
	}
	return mix
}
