package main

// risk decides how often a rule about a tool allows, asks or denies.
type risk int

const (
	low risk = iota
	medium
	high
)

// tool is something an agent can call. Resources are patterns for what it is called on.
type tool struct {
	name      string
	risk      risk
	resources []string
}

var (
	paths     = []string{"/srv/app/*", "/srv/data/*.csv", "/tmp/*", "/home/agent/*", "/var/log/*.log", "/workspace/repo-??/*"}
	hosts     = []string{"https://api.internal/*", "https://*.example.com/*", "https://docs.example.com/*", "http://10.*"}
	databases = []string{"analytics.*", "billing.invoices", "crm.*", "prod-??.*", "staging-*", "*_ro"}
	mailboxes = []string{"*@example.com", "support@*", "billing@*", "all-staff@*"}
	repos     = []string{"web/*", "infra/*", "*/main", "*/release-*", "docs/*"}
	clusters  = []string{"dev/*", "staging/*", "prod-[a-c]/*", "*/kube-system/*"}
	channels  = []string{"#support-*", "#incidents", "#general", "@*"}
	accounts  = []string{"eu-*", "us-*", "test-*", "vip-??"}
)

// tools is every tool a policy may speak of.
var tools = []tool{
	{"browser.open", low, hosts},
	{"browser.submit", medium, hosts},
	{"calendar.create", medium, mailboxes},
	{"calendar.read", low, mailboxes},
	{"ci.deploy", high, clusters},
	{"ci.run", low, repos},
	{"cloud.instances.list", low, accounts},
	{"cloud.instances.stop", high, accounts},
	{"code.run", medium, []string{"python", "node", "bash", "go"}},
	{"crm.read", low, accounts},
	{"crm.update", medium, accounts},
	{"db.migrate", high, databases},
	{"db.query", low, databases},
	{"db.write", medium, databases},
	{"email.read", low, mailboxes},
	{"email.send", medium, mailboxes},
	{"flags.toggle", medium, []string{"beta-*", "kill-switch-*", "ui.*"}},
	{"fs.delete", high, paths},
	{"fs.read", low, paths},
	{"fs.write", medium, paths},
	{"git.clone", low, repos},
	{"git.merge", high, repos},
	{"git.push", medium, repos},
	{"http.get", low, hosts},
	{"http.post", medium, hosts},
	{"image.generate", low, []string{"draft", "1024x*"}},
	{"invoices.create", medium, accounts},
	{"k8s.apply", high, clusters},
	{"k8s.exec", high, clusters},
	{"k8s.get", low, clusters},
	{"logs.search", low, clusters},
	{"memory.read", low, []string{"self", "team/*", "shared/*"}},
	{"memory.write", low, []string{"self", "team/*", "shared/*"}},
	{"metrics.query", low, clusters},
	{"pager.page", medium, []string{"oncall-*", "sre-primary", "exec"}},
	{"payments.lookup", low, accounts},
	{"payments.payout", high, accounts},
	{"payments.refund", high, accounts},
	{"pdf.extract", low, paths},
	{"queue.publish", medium, []string{"orders.*", "emails", "dlq.*"}},
	{"search.docs", low, []string{"public/*", "internal/*", "legal/*"}},
	{"search.web", low, []string{"news", "scholar", "images"}},
	{"secrets.read", high, []string{"dev/*", "prod/*", "*/db-password", "ci/??-token"}},
	{"secrets.rotate", high, []string{"dev/*", "prod/*"}},
	{"shell", high, []string{"ls *", "git *", "rm *", "curl *", "make [a-z]*", "kubectl get *"}},
	{"slack.post", low, channels},
	{"tickets.close", medium, accounts},
	{"tickets.comment", low, accounts},
	{"tickets.read", low, accounts},
	{"users.lookup", low, accounts},
	{"users.suspend", high, accounts},
	{"vector.query", low, []string{"kb-*", "tickets-*", "code-*"}},
}
