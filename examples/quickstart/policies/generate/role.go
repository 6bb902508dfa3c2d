package main

// role is a job that many agents of the company do. The tools it needs come first in its documents.
type role struct {
	name  string
	team  string
	tools []string
}

var roles = []role{
	{"support-triage", "support", []string{"tickets.read", "tickets.comment", "tickets.close", "crm.read", "search.docs", "email.read", "users.lookup", "vector.query", "slack.post"}},
	{"support-refunds", "support", []string{"payments.lookup", "payments.refund", "tickets.read", "tickets.comment", "crm.read", "email.send"}},
	{"sre-oncall", "platform", []string{"metrics.query", "logs.search", "k8s.get", "k8s.exec", "k8s.apply", "shell", "pager.page", "slack.post", "cloud.instances.list"}},
	{"release-manager", "platform", []string{"git.clone", "git.merge", "ci.run", "ci.deploy", "flags.toggle", "slack.post", "metrics.query"}},
	{"code-reviewer", "engineering", []string{"git.clone", "fs.read", "ci.run", "search.docs", "code.run", "tickets.comment"}},
	{"coding-agent", "engineering", []string{"fs.read", "fs.write", "fs.delete", "git.clone", "git.push", "shell", "code.run", "http.get", "search.web", "ci.run"}},
	{"data-analyst", "data", []string{"db.query", "vector.query", "fs.read", "code.run", "image.generate", "pdf.extract", "search.docs"}},
	{"db-operator", "data", []string{"db.query", "db.write", "db.migrate", "secrets.read", "metrics.query", "queue.publish"}},
	{"finance-recon", "finance", []string{"payments.lookup", "payments.payout", "invoices.create", "db.query", "email.read", "pdf.extract"}},
	{"sales-outreach", "sales", []string{"crm.read", "crm.update", "email.send", "calendar.create", "calendar.read", "search.web", "browser.open"}},
	{"research-browser", "research", []string{"search.web", "browser.open", "browser.submit", "http.get", "http.post", "pdf.extract", "memory.write", "memory.read"}},
	{"security-responder", "security", []string{"logs.search", "users.lookup", "users.suspend", "secrets.rotate", "secrets.read", "cloud.instances.list", "cloud.instances.stop", "pager.page"}},
}
