// Package policies is the quickstart's input: 1,200 policy documents of made-up agents, as a company with support,
// engineering and finance agents might have them. They are the output of the program in the folder generate, whose seed
// is fixed; go generate runs it. The documents are used so:
//
//	for id, document := range policies.All() {
//		doc, err := policy.ParseDocument(document)
//		if err != nil {
//			return err
//		}
//		fmt.Println(id, doc.Decide("tool:"+policies.Tools()[0]).Allowed())
//	}
//
// A document has 3 to 40 rules and about 1 KiB of JSON at the median. Actions have the form tool:<name> or
// tool:<name>:<resource>. A few documents are in the mode observe or disabled; every other one allows at least one tool
// of Tools by its bare name and refuses at least one.
//
// All functions are safe for concurrent use. The data is embedded and the tests read all of it, so there is no error to
// return; a damaged file panics. The package does not store, shuffle or weight the documents.
package policies
