// Command clients talks to a cluster as controllers written with client-go do: typed objects in protobuf, informers
// that begin with a watch list, metadata and dynamic informers, conflicts, failures, deletion with options.
// Usage: clients KUBECONFIG. It prints a line for each thing it saw and ends with 1 at the first that it did not.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
)

const (
	namespace = "client-go"
	protobuf  = "application/vnd.kubernetes.protobuf"
)

// patience is how long anything here may take to be seen.
const patience = 60 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.ContentType = protobuf
	config.AcceptContentTypes = protobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	text := *config
	text.ContentType, text.AcceptContentTypes = "", ""
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"objects", func() error { return objects(ctx, client) }},
		{"failures", func() error { return failures(ctx, client) }},
		{"informer", func() error { return informer(ctx, client) }},
		{"metadata", func() error { return metadataOnly(ctx, client, metadata.NewForConfigOrDie(config)) }},
		{"dynamic", func() error { return dynamicObjects(ctx, client, dynamic.NewForConfigOrDie(&text)) }},
		{"discovery", func() error { return discovery(client) }},
	} {
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name, "ok")
	}
	return client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
}

// objects: created, read, updated after a conflict, patched, scaled, listed in pages; zeros and empty things stay.
func objects(ctx context.Context, client kubernetes.Interface) error {
	zero, no := int32(0), false
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "none", Labels: map[string]string{"app": "none"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &zero,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "none"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "none"}},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken: &no,
					Containers:                   []corev1.Container{{Name: "main", Image: "busybox"}},
					Volumes:                      []corev1.Volume{{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
				},
			},
		},
	}
	api := client.AppsV1().Deployments(namespace)
	made, err := api.Create(ctx, deployment, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	read, err := api.Get(ctx, "none", metav1.GetOptions{})
	if err != nil {
		return err
	}
	spec := read.Spec.Template.Spec
	switch {
	case read.UID != made.UID || read.CreationTimestamp.IsZero():
		return fmt.Errorf("metadata: %v", read.ObjectMeta)
	case read.Spec.Replicas == nil || *read.Spec.Replicas != 0:
		return fmt.Errorf("replicas: %v", read.Spec.Replicas)
	case spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken:
		return errors.New("automountServiceAccountToken is lost")
	case spec.Volumes[0].EmptyDir == nil:
		return errors.New("emptyDir is lost")
	case spec.TerminationGracePeriodSeconds == nil || *spec.TerminationGracePeriodSeconds != 30:
		return errors.New("no defaults")
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		latest, err := api.Get(ctx, "none", metav1.GetOptions{})
		if err != nil {
			return err
		}
		latest.Annotations = map[string]string{"by": "client-go"}
		_, err = api.Update(ctx, latest, metav1.UpdateOptions{FieldManager: "clients"})
		return err
	})
	if err != nil {
		return err
	}
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"b"}]}]}}}}`)
	patched, err := api.Patch(ctx, "none", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if container := patched.Spec.Template.Spec.Containers[0]; container.Image != "busybox" || len(container.Env) != 1 {
		return fmt.Errorf("strategic merge patch: %v", container)
	}
	scale, err := api.GetScale(ctx, "none", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if scale.Spec.Replicas != 0 || scale.Status.Selector != "app=none" {
		return fmt.Errorf("scale: %v", scale)
	}
	for n := range 5 {
		config := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", n), Labels: map[string]string{"many": "yes"}},
			BinaryData: map[string][]byte{"b": {0, 255}},
		}
		if _, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, config, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	options := metav1.ListOptions{LabelSelector: "many=yes", Limit: 2}
	seen := 0
	for {
		page, err := client.CoreV1().ConfigMaps(namespace).List(ctx, options)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if len(item.BinaryData["b"]) != 2 {
				return fmt.Errorf("binaryData: %v", item.BinaryData)
			}
			seen++
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if seen != 5 {
		return fmt.Errorf("%d of 5 ConfigMaps in pages", seen)
	}
	return nil
}

// failures: a Status in protobuf says what upstream's says.
func failures(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().Pods(namespace).Get(ctx, "nobody", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) || err.Error() != `pods "nobody" not found` {
		return fmt.Errorf("not found: %v", err)
	}
	_, err = client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "No"}}, metav1.CreateOptions{})
	var status *apierrors.StatusError
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || len(status.ErrStatus.Details.Causes) == 0 {
		return fmt.Errorf("invalid: %v", err)
	}
	stale := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c0", ResourceVersion: "1"}}
	if _, err = client.CoreV1().ConfigMaps(namespace).Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("conflict: %v", err)
	}
	return nil
}

// informer: begins with a watch list, and sees an addition, a change and a deletion, each once.
func informer(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	maps := factory.Core().V1().ConfigMaps()
	var added, updated, deleted atomic.Int32
	named := func(object any) bool { return object.(*corev1.ConfigMap).Name == "watched" }
	_, err := maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if named(object) {
				added.Add(1)
			}
		},
		UpdateFunc: func(_, object any) {
			if named(object) {
				updated.Add(1)
			}
		},
		DeleteFunc: func(object any) {
			if config, ok := object.(*corev1.ConfigMap); ok && named(config) {
				deleted.Add(1)
			}
		},
	})
	if err != nil {
		return err
	}
	informing, stop := context.WithCancel(ctx)
	defer stop()
	factory.Start(informing.Done())
	if !cache.WaitForCacheSync(informing.Done(), maps.Informer().HasSynced) {
		return errors.New("the cache does not fill")
	}
	if _, err := maps.Lister().ConfigMaps(namespace).Get("c0"); err != nil {
		return fmt.Errorf("what was there before: %w", err)
	}
	api := client.CoreV1().ConfigMaps(namespace)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "watched"}}
	if config, err = api.Create(ctx, config, metav1.CreateOptions{}); err != nil {
		return err
	}
	config.Data = map[string]string{"a": "b"}
	if _, err := api.Update(ctx, config, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return added.Load() == 1 && updated.Load() == 1 }); err != nil {
		return fmt.Errorf("added %d, updated %d: %w", added.Load(), updated.Load(), err)
	}
	if err := api.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := until(ctx, func() bool { return deleted.Load() == 1 }); err != nil {
		return fmt.Errorf("deleted: %w", err)
	}
	return nil
}

// metadataOnly: PartialObjectMetadata, as garbage collectors read.
func metadataOnly(ctx context.Context, client kubernetes.Interface, only metadata.Interface) error {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	one, err := only.Resource(resource).Namespace(namespace).Get(ctx, "c1", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if one.Labels["many"] != "yes" {
		return fmt.Errorf("%v", one)
	}
	factory := metadatainformer.NewFilteredSharedInformerFactory(only, 0, namespace, nil)
	lister := factory.ForResource(resource).Lister()
	informing, stop := context.WithCancel(ctx)
	defer stop()
	factory.Start(informing.Done())
	for _, synced := range factory.WaitForCacheSync(informing.Done()) {
		if !synced {
			return errors.New("the cache does not fill")
		}
	}
	if err := client.CoreV1().ConfigMaps(namespace).Delete(ctx, "c1", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return until(ctx, func() bool {
		_, err := lister.ByNamespace(namespace).Get("c1")
		return apierrors.IsNotFound(err)
	})
}

// dynamicObjects: the same objects without types, in JSON.
func dynamicObjects(ctx context.Context, client kubernetes.Interface, untyped dynamic.Interface) error {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(untyped, 0, namespace, nil)
	lister := factory.ForResource(resource).Lister()
	informing, stop := context.WithCancel(ctx)
	defer stop()
	factory.Start(informing.Done())
	for _, synced := range factory.WaitForCacheSync(informing.Done()) {
		if !synced {
			return errors.New("the cache does not fill")
		}
	}
	found, err := lister.ByNamespace(namespace).Get("c2")
	if err != nil {
		return err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(found)
	if err != nil || content["binaryData"].(map[string]any)["b"] != "AP8=" {
		return fmt.Errorf("%v %w", content, err)
	}
	policy := metav1.DeletePropagationForeground
	err = client.AppsV1().Deployments(namespace).Delete(ctx, "none", metav1.DeleteOptions{PropagationPolicy: &policy})
	if err != nil {
		return err
	}
	return until(ctx, func() bool {
		_, err := client.AppsV1().Deployments(namespace).Get(ctx, "none", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func discovery(client kubernetes.Interface) error {
	groups, lists, err := client.Discovery().ServerGroupsAndResources()
	if err != nil {
		return err
	}
	if len(groups) < 15 || len(lists) < 20 {
		return fmt.Errorf("%d groups, %d lists", len(groups), len(lists))
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil || version.Major != "1" {
		return fmt.Errorf("%v %w", version, err)
	}
	return nil
}

// until waits for what an event of another goroutine brings.
func until(ctx context.Context, holds func() bool) error {
	end := time.After(patience)
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return errors.New("not seen in time")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
