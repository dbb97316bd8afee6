package httpapi

import (
	"slices"
	"strconv"
	"strings"

	"magellan/internal/services"
)

// The states of Consul's checks.
const (
	consulPassing  = "passing"
	consulWarning  = "warning"
	consulCritical = "critical"
)

// consulState is the state of the only check that an instance has.
func consulState(s services.Status) string {
	switch s {
	case services.Up:
		return consulPassing
	case services.Unknown:
		return consulWarning
	default:
		return consulCritical
	}
}

// appendConsulInstances appends those instances of a service that the filter takes, each as one
// appends it.
func (s *Server) appendConsulInstances(dst []byte, found services.Answer, filter *instanceFilter,
	one func(s *Server, dst []byte, of *services.Service, m *services.Member) []byte) []byte {
	dst = append(dst, '[')
	for of := range found.All {
		for i := range of.Members {
			m := &of.Members[i]
			if !filter.takes(m.Instance) {
				continue
			}
			if len(dst) > 1 {
				dst = append(dst, ',')
			}
			dst = one(s, dst, of, m)
		}
	}
	return append(dst, "]\n"...)
}

// appendConsulHealth appends an element of the answer about health. What Consul calls a node is the
// host of the instance.
func (s *Server) appendConsulHealth(dst []byte, of *services.Service, m *services.Member) []byte {
	main := m.Main()
	dst = appendString(append(dst, `{"Node":{"ID":"","Node":`...), main.Host)
	dst = appendString(append(dst, `,"Address":`...), main.Host)
	dst = appendString(append(dst, `,"Datacenter":`...), s.cfg.ConsulDatacenter)
	dst = appendString(append(dst, `,"TaggedAddresses":{},"Meta":{}},"Service":{"ID":`...), of.UniqueID(m))
	dst = appendString(append(dst, `,"Service":`...), of.Name)
	dst = appendStrings(append(dst, `,"Tags":`...), m.Tags)
	dst = appendString(append(dst, `,"Address":`...), main.Host)
	dst = appendConsulEndpoints(append(dst, `,"TaggedAddresses":`...), m)
	dst = appendPairs(append(dst, `,"Meta":`...), m.Metadata)
	dst = strconv.AppendUint(append(dst, `,"Port":`...), uint64(main.Port), 10)
	dst = appendConsulWeights(append(dst, `,"Weights":`...), m)
	dst = appendConsulCheck(append(dst, `,"EnableTagOverride":false},"Checks":[`...), of, m)
	return append(dst, "]}"...)
}

// appendConsulService appends an element of the catalog's answer about a service.
func (s *Server) appendConsulService(dst []byte, of *services.Service, m *services.Member) []byte {
	main := m.Main()
	dst = appendString(append(dst, `{"ID":"","Node":`...), main.Host)
	dst = appendString(append(dst, `,"Address":`...), main.Host)
	dst = appendString(append(dst, `,"Datacenter":`...), s.cfg.ConsulDatacenter)
	dst = appendString(append(dst, `,"TaggedAddresses":{},"NodeMeta":{},"ServiceID":`...), of.UniqueID(m))
	dst = appendString(append(dst, `,"ServiceName":`...), of.Name)
	dst = appendStrings(append(dst, `,"ServiceTags":`...), m.Tags)
	dst = appendString(append(dst, `,"ServiceAddress":`...), main.Host)
	dst = appendConsulEndpoints(append(dst, `,"ServiceTaggedAddresses":`...), m)
	dst = appendPairs(append(dst, `,"ServiceMeta":`...), m.Metadata)
	dst = strconv.AppendUint(append(dst, `,"ServicePort":`...), uint64(main.Port), 10)
	dst = appendConsulWeights(append(dst, `,"ServiceWeights":`...), m)
	return append(dst, `,"ServiceEnableTagOverride":false}`...)
}

// appendConsulCheck appends the check that stands for an instance's status. An instance that was
// taken out of service has the check by which Consul marks maintenance.
func appendConsulCheck(dst []byte, of *services.Service, m *services.Member) []byte {
	id := of.UniqueID(m)
	check, name := "service:"+id, "Registration in ZooKeeper"
	if m.Status == services.OutOfService {
		check, name = "_service_maintenance:"+id, "Service Maintenance Mode"
	}
	dst = appendString(append(dst, `{"Node":`...), m.Main().Host)
	dst = appendString(append(dst, `,"CheckID":`...), check)
	dst = appendString(append(dst, `,"Name":`...), name)
	dst = appendString(append(dst, `,"Status":`...), consulState(m.Status))
	dst = appendString(append(dst, `,"Notes":`...), of.Znode(m))
	dst = appendString(append(dst, `,"Output":`...), m.Word)
	dst = appendString(append(dst, `,"ServiceID":`...), id)
	dst = appendString(append(dst, `,"ServiceName":`...), of.Name)
	return append(appendStrings(append(dst, `,"ServiceTags":`...), m.Tags), '}')
}

// appendConsulEndpoints appends the further endpoints of an instance by their names.
func appendConsulEndpoints(dst []byte, m *services.Member) []byte {
	dst = append(dst, '{')
	last := ""
	for _, e := range m.Endpoints[1:] {
		if e.Name == "" || e.Name == last { // they are ordered by name, and members of an object are once each
			continue
		}
		if last != "" {
			dst = append(dst, ',')
		}
		last = e.Name
		dst = appendString(append(appendString(dst, e.Name), `:{"Address":`...), e.Host)
		dst = append(strconv.AppendUint(append(dst, `,"Port":`...), uint64(e.Port), 10), '}')
	}
	return append(dst, '}')
}

func appendConsulWeights(dst []byte, m *services.Member) []byte {
	dst = strconv.AppendInt(append(dst, `{"Passing":`...), int64(wholeWeight(m.Instance)), 10)
	return append(dst, `,"Warning":1}`...)
}

// appendConsulServices appends the names of all services that have instances, with the tags that any
// of them has.
func appendConsulServices(dst []byte, all []services.MountAnswer) []byte {
	var list []*services.Service
	for i := range all {
		for _, one := range all[i].Services {
			if len(one.Members) > 0 {
				list = append(list, one.Service)
			}
		}
	}
	// Each mount's are in order already.
	slices.SortStableFunc(list, func(a, b *services.Service) int { return strings.Compare(a.Name, b.Name) })
	dst = append(dst, '{')
	for len(list) > 0 {
		same := 1
		for same < len(list) && list[same].Name == list[0].Name {
			same++
		}
		tags := list[0].Tags
		if same > 1 {
			var both []string
			for _, one := range list[:same] {
				both = append(both, one.Tags...)
			}
			slices.Sort(both)
			tags = slices.Compact(both)
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = appendStrings(append(appendString(dst, list[0].Name), ':'), tags)
		list = list[same:]
	}
	return append(dst, "}\n"...)
}

// appendConsulChecks appends the checks of all instances that are in a state.
func appendConsulChecks(dst []byte, all []services.MountAnswer, state string) []byte {
	dst = append(dst, '[')
	for i := range all {
		for _, one := range all[i].Services {
			for j := range one.Members {
				m := &one.Members[j]
				if state != "any" && state != consulState(m.Status) {
					continue
				}
				if len(dst) > 1 {
					dst = append(dst, ',')
				}
				dst = appendConsulCheck(dst, one.Service, m)
			}
		}
	}
	return append(dst, "]\n"...)
}
