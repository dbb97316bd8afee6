package kubernetes

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// decode reads a manifest as the API server does with fieldValidation=Strict:
// unknown and repeated fields are errors, as are kinds that do not exist.
func decode(t *testing.T, manifest []byte) (runtime.Object, error) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	object, _, err := codecs.UniversalDeserializer().Decode(manifest, nil, nil)
	return object, err
}

// read decodes all manifests; each kind is there once.
func read(t *testing.T) map[schema.GroupVersionKind]runtime.Object {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := make(map[schema.GroupVersionKind]runtime.Object)
	for _, name := range files {
		manifest, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		object, err := decode(t, manifest)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		objects[object.GetObjectKind().GroupVersionKind()] = object
	}
	return objects
}

func get[T runtime.Object](t *testing.T, objects map[schema.GroupVersionKind]runtime.Object) T {
	t.Helper()
	for _, object := range objects {
		if found, ok := object.(T); ok {
			return found
		}
	}
	t.Fatalf("no manifest is a %T", *new(T))
	panic("unreachable")
}

func TestDecodingIsStrict(t *testing.T) {
	for name, manifest := range map[string]string{
		"unknown field":  "apiVersion: v1\nkind: Service\nspec: {selectr: {a: b}}\n",
		"repeated field": "apiVersion: v1\nkind: Service\nspec: {}\nspec: {}\n",
		"wrong type":     "apiVersion: v1\nkind: Service\nspec: {ports: [{port: http}]}\n",
		"unknown kind":   "apiVersion: apps/v1\nkind: Deploiment\n",
	} {
		if _, err := decode(t, []byte(manifest)); err == nil {
			t.Errorf("%s: decoded without an error", name)
		}
	}
}

// What refers to pods, ports and volumes by name refers to some that are there.
func TestManifests(t *testing.T) {
	objects := read(t)
	deployment := get[*appsv1.Deployment](t, objects)
	service := get[*corev1.Service](t, objects)
	budget := get[*policyv1.PodDisruptionBudget](t, objects)
	policy := get[*networkingv1.NetworkPolicy](t, objects)

	pod := deployment.Spec.Template
	podLabels := labels.Set(pod.Labels)
	selects := func(what string, selector *metav1.LabelSelector) {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(podLabels) {
			t.Errorf("%s does not select the pods (%v): %v", what, podLabels, err)
		}
	}
	selects("the deployment", deployment.Spec.Selector)
	selects("the disruption budget", budget.Spec.Selector)
	selects("the network policy", &policy.Spec.PodSelector)
	selects("the service", metav1.SetAsLabelSelector(service.Spec.Selector))
	for _, spread := range pod.Spec.TopologySpreadConstraints {
		selects("the spread over nodes", spread.LabelSelector)
	}
	if *deployment.Spec.Replicas < 2 || budget.Spec.MinAvailable.IntValue() >= int(*deployment.Spec.Replicas) {
		t.Errorf("%d replicas of which %v must be available: no node can be drained", *deployment.Spec.Replicas, budget.Spec.MinAvailable)
	}

	container := pod.Spec.Containers[0]
	var ports []string
	for _, p := range container.Ports {
		ports = append(ports, p.Name)
	}
	named := func(what string, port intstr.IntOrString) {
		if !slices.Contains(ports, port.StrVal) {
			t.Errorf("%s: there is no port %q in %v", what, port.StrVal, ports)
		}
	}
	for _, p := range service.Spec.Ports {
		named("the service", p.TargetPort)
		if p.TargetPort.StrVal == "admin" {
			t.Error("the service exposes the operators' port")
		}
	}
	for what, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "readiness": container.ReadinessProbe, "liveness": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil {
			t.Errorf("no %s probe", what)
			continue
		}
		named(what, probe.HTTPGet.Port)
	}
	if path := container.LivenessProbe.HTTPGet.Path; path != "/healthz" {
		t.Errorf("liveness asks for %s: a pod must not be restarted because ZooKeeper is away", path)
	}

	volumes := make(map[string]bool)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range container.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %q", m.Name)
		}
	}
	if container.Resources.Requests.Memory().IsZero() || container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
		t.Error("memory is neither requested nor bounded")
	}
	security := container.SecurityContext
	if !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation || !*pod.Spec.SecurityContext.RunAsNonRoot ||
		!slices.Contains(security.Capabilities.Drop, "ALL") {
		t.Error("it may do more than it needs")
	}
}

// Whoever may reach the operators' port has to be named.
func TestOperatorsPortIsNotForEveryone(t *testing.T) {
	policy := get[*networkingv1.NetworkPolicy](t, read(t))
	if !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
		t.Fatalf("policy types %v", policy.Spec.PolicyTypes)
	}
	admin := 0
	for _, rule := range policy.Spec.Ingress {
		if len(rule.Ports) == 0 {
			t.Error("a rule without ports allows all of them")
		}
		for _, p := range rule.Ports {
			if p.Port.StrVal != "admin" && p.Port.IntValue() != 6060 {
				continue
			}
			admin++
			for _, peer := range rule.From {
				if s := peer.NamespaceSelector; s == nil || len(s.MatchLabels) == 0 {
					t.Errorf("%v lets too many in", peer)
				}
			}
			if len(rule.From) == 0 {
				t.Error("the operators' port is open to everyone")
			}
		}
	}
	if admin != 1 {
		t.Errorf("%d rules for the operators' port, want 1", admin)
	}
}
