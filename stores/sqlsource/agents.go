package sqlsource

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"

	"github.com/layercache/layercache/invalidation"
)

// AgentsTable is the table of the registry's agents, by id.
const AgentsTable TableName = "agents"

// Agent is a row of the agents. Times are milliseconds of the database's clock since 1970.
type Agent struct {
	ID, Name string
	// Capabilities is a JSON list of strings, Extra a JSON object of the members that have no column.
	Capabilities, Extra  string
	Status               string
	CurrentLoad, MaxLoad int64
	// Heartbeat is when the agent was last heard of, Expires when it is gone.
	Heartbeat, Expires int64
	// Faulty: a number of the row is none, as SQLite lets other programs write. Only the ID is good then.
	Faulty bool
}

// Agents are one tenant's agents. Every change of them but a heartbeat has a version and is in the Log, whichever program
// made it. Safe for concurrent use.
type Agents struct {
	log    *Log
	writer string
	sql    agentStatements
}

var _ invalidation.Log = (*Agents)(nil)

// agentStatements are the SQL of one tenant's agents, rendered once. $1 is the tenant in each of them.
type agentStatements struct {
	get, list, put, remove, beat, clock, revive, status, load, take, give, flush, contact, chores, stamp, sweep, reap string
}

// Agents opens the agents of a tenant. It does no I/O. writer is the name of this process, which delivers its changes
// itself; "" leaves them to relays.
func (s *Source) Agents(tenant, writer string) (*Agents, error) {
	log, err := s.Log(AgentsTable, tenant)
	if err != nil {
		return nil, err
	}
	a := &Agents{log: log, writer: writer}
	words := s.agentWords()
	render := func(query string) string { return log.render(words.Replace(query)) }
	// update is a write to one agent that is not gone: $2 is its id, $3 an argument, $4 the writer.
	update := func(set, where string) string {
		if s.dialect == SQLite {
			return render("UPDATE layercache_agents SET " + set +
				" WHERE tenant = $1 AND agent_id = $2 AND expires_ms > {now} AND " + where)
		}
		return render(`WITH done AS (
	UPDATE layercache_agents a SET ` + set + ` FROM (SELECT set_config('layercache.writer', $4::text, true) AS writer) w
	WHERE a.tenant = $1 AND a.agent_id = $2 AND a.expires_ms > {now} AND w.writer IS NOT NULL AND ` + where + ` RETURNING 1
)
SELECT layercache_version({tbl}), n FROM (SELECT count(*) AS n FROM done) counted`)
	}
	a.sql = agentStatements{
		get: render(getAgentSQL), list: render(listAgentsSQL), clock: render(clockSQL),
		contact: render(contactSQL), chores: render(choresSQL),
		status: update("status = "+third(s, "text"), "status <> "+third(s, "text")),
		load:   update("current_load = "+third(s, "bigint"), "current_load <> "+third(s, "bigint")),
		// To 2^53-1, the greatest load, nothing is added. Nor to a text, which SQLite takes for greater than any number.
		take: update("current_load = current_load + 1",
			"status = 'available' AND current_load < 9007199254740991 AND (max_load = 0 OR current_load < max_load) AND "+third(s, "bigint")+" IS NOT NULL"),
		give: update("current_load = current_load - 1",
			"current_load BETWEEN 1 AND 9223372036854775807 AND "+third(s, "bigint")+" IS NOT NULL"),
	}
	if s.dialect == SQLite {
		a.sql.put, a.sql.beat = render(putAgentSQLite), render(beatSQLite)
		a.sql.remove, a.sql.flush = render(removeAgentSQLite), render(flushAgentsSQLite)
		a.sql.revive, a.sql.reap, a.sql.sweep = render(reviveSQLite), render(reapSQLite), render(sweepSQLite)
		a.sql.stamp = render(stampSQLite)
	} else {
		a.sql.put, a.sql.beat = render(putAgentPostgres), render(beatPostgres)
		a.sql.remove, a.sql.flush = render(removeAgentPostgres), render(flushAgentsPostgres)
		a.sql.revive, a.sql.reap, a.sql.sweep = render(revivePostgres), render(reapPostgres), render(sweepPostgres)
		a.sql.stamp = render(stampPostgres)
	}
	return a, nil
}

// startedPostgres names a run of the server, the same in sessions of any time zone.
const startedPostgres = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text"

// agentWords are what the dialects say differently of agents.
func (s *Source) agentWords() *strings.Replacer {
	inTouch := func(now, at, grace string) string { // Contact.reaches
		return "(" + grace + " = 0 OR " + now + " - " + at + " BETWEEN -" + grace + " AND " + grace + ")"
	}
	const gap = "(excluded.contact_ms - {later}(l.contact_ms, (SELECT beat FROM c)))"
	if s.dialect == SQLite {
		return strings.NewReplacer("{columns}", agentColumns, "{server}", "''", "{once}", "", "{grace}", "$2",
			"{untimed}", "(last_heartbeat_ms <= 0 OR typeof(last_heartbeat_ms) <> 'integer' OR typeof(expires_ms) <> 'integer')",
			"{gap}", strings.Replace(gap, "{later}", "max", 1),
			"{beat in touch}", inTouch("{now}", "$4", "$5"), "{put in touch}", inTouch("{now}", "$11", "$12"))
	}
	return strings.NewReplacer("{columns}", agentColumns, "{server}", startedPostgres, "{once}", "MATERIALIZED",
		"{untimed}", "last_heartbeat_ms <= 0",
		"{grace}", "$2::bigint", "{gap}", strings.Replace(gap, "{later}", "greatest", 1),
		"{beat in touch}", inTouch("c.ms", "$4::bigint", "$5::bigint"), "{put in touch}", inTouch("c.ms", "$11::bigint", "$12::bigint"))
}

// third is an update's parameter with the type that PostgreSQL cannot tell.
func third(s *Source, as string) string {
	if s.dialect == SQLite {
		return "$3"
	}
	return "$3::" + as
}

// Log is the change log of the agents.
func (a *Agents) Log() *Log { return a.log }

// Tenant is whose agents they are.
func (a *Agents) Tenant() string { return a.log.tenant }

// Changes is the Log's.
func (a *Agents) Changes(ctx context.Context, after uint64, limit int) (invalidation.Page, error) {
	return a.log.Changes(ctx, after, limit)
}

const (
	agentColumns = "a.agent_id, a.name, a.capabilities, a.status, a.current_load, a.max_load, a.extra, " +
		"a.last_heartbeat_ms, a.expires_ms"

	getAgentSQL = `SELECT {now}, v.version, {columns}
FROM layercache_versions v LEFT JOIN layercache_agents a ON a.tenant = $1 AND a.agent_id = $2 AND a.expires_ms > {now}
WHERE v.tbl = {tbl}`

	listAgentsSQL = `SELECT {now}, v.version, {columns}
FROM layercache_versions v LEFT JOIN layercache_agents a ON a.tenant = $1 AND a.expires_ms > {now}
WHERE v.tbl = {tbl}`
)

// AgentList is what a read of the agents answers, from one snapshot.
type AgentList struct {
	// Agents that are not gone, in any order.
	Agents []Agent
	// Now is the database's clock, AsOf the version: no change up to it is missing.
	Now  int64
	AsOf uint64
}

// Get reads an agent: a list of one, or of none.
func (a *Agents) Get(ctx context.Context, id string) (AgentList, error) {
	if err := checkID(id); err != nil {
		return AgentList{}, err
	}
	return a.read(ctx, "get agent", a.sql.get, a.log.tenant, id)
}

// List reads all agents in one statement.
func (a *Agents) List(ctx context.Context) (AgentList, error) {
	return a.read(ctx, "list agents", a.sql.list, a.log.tenant)
}

func (a *Agents) read(ctx context.Context, op, query string, args ...any) (AgentList, error) {
	var list AgentList
	err := a.log.source.retry(ctx, func() error {
		list = AgentList{}
		rows, err := a.log.source.db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		seen := false
		for rows.Next() {
			var id, name, capabilities, status, extra sql.NullString
			var load, most, heartbeat, expires any // an error of Scan's would tell what is in them
			err := rows.Scan(&list.Now, &list.AsOf, &id, &name, &capabilities, &status, &load, &most, &extra, &heartbeat, &expires)
			if err != nil {
				return err
			}
			seen = true
			if !id.Valid {
				continue
			}
			row := Agent{ID: id.String, Name: name.String, Capabilities: capabilities.String, Status: status.String, Extra: extra.String}
			number := func(value any) int64 {
				n, ok := value.(int64)
				row.Faulty = row.Faulty || !ok
				return n
			}
			row.CurrentLoad, row.MaxLoad = number(load), number(most)
			row.Heartbeat, row.Expires = number(heartbeat), number(expires)
			list.Agents = append(list.Agents, row)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if !seen {
			return sql.ErrNoRows
		}
		return nil
	})
	if err != nil {
		return AgentList{}, failed(op, err)
	}
	return list, nil
}

// idList is a JSON list of ids.
func idList(ids []string) (string, error) {
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return "", err
		}
	}
	if ids == nil {
		ids = []string{}
	}
	text, err := json.Marshal(ids)
	return string(text), err
}
