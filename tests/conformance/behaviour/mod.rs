//! What is compared: each behaviour is a conversation that is held with both servers, in a namespace of its own.

mod bookkeeping;
mod decoding;
mod deletion;
mod discovery;
mod endpoint_slice;
mod garbage;
mod kubectl;
mod patching;
mod pod;
mod reading;
mod replica_set;
mod scale;
mod schema;
mod watching;
mod writing;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::talk::Talk;

pub struct Behaviour {
    pub group: &'static str,
    pub name: &'static str,
    pub play: for<'a, 'b> fn(&'a mut Talk<'b>) -> BoxFuture<'a, ()>,
}

impl Behaviour {
    pub fn title(&self) -> String {
        format!(
            "{}: {}",
            self.group.replace('_', " "),
            self.name.replace('_', " ")
        )
    }

    pub fn namespace(&self) -> String {
        format!("{}-{}", self.group, self.name).replace('_', "-")
    }
}

macro_rules! behaviours {
    ($($group:ident: $($name:ident)*;)*) => {
        vec![$($(Behaviour {
            group: stringify!($group),
            name: stringify!($name),
            play: |talk| $group::$name(talk).boxed(),
        }),*),*]
    };
}

pub fn all() -> Vec<Behaviour> {
    behaviours! {
        reading:
            a_created_object a_missing_object unserved_paths label_selectors field_selectors all_namespaces
            versions_of_a_list paging an_invalid_continue metadata_only table_of_rollouts table_of_commands
            table_of_pods table_of_replica_sets unserved_methods;
        watching:
            changes_from_the_beginning resuming selected_objects one_object bookmarks initial_events_and_bookmark
            invalid_versions a_deleted_object tables;
        writing:
            an_existing_name generated_names invalid_names a_version_at_creation wrong_places stale_updates
            updates_without_version a_wrong_uid a_missing_object an_update_that_changes_nothing
            generation_of_a_rollout generation_of_a_replica_set status_apart_from_spec fields_of_the_server dry_runs
            managers_of_fields a_missing_namespace annotations_and_labels;
        decoding:
            invalid_options unknown_fields_of_a_rollout unknown_fields_of_a_replica_set
            unknown_fields_of_a_status duplicate_fields
            unreadable_bodies a_yaml_body wrong_types;
        bookkeeping: leases events invalid_events reviews;
        patching:
            json_patch_operations a_failing_test a_missing_path a_test_of_the_version a_replaced_version
            merge_patches merge_patch_versions strategic_merge_patches unserved_forms a_missing_object
            malformed_patches a_patch_that_changes_nothing a_patched_identity a_wrong_uid escaped_names;
        scale:
            of_a_rollout of_a_replica_set written stale patched invalid of_a_missing_object;
        schema:
            pruning_and_preserving defaults nulls bad_rollouts bad_templates bad_commands
            an_immutable_selector an_immutable_command status_of_a_rollout a_new_kind rules_on_patches;
        deletion:
            an_object a_missing_object preconditions finalizers no_new_finalizers dry_run a_collection
            a_pod_without_node a_pod_on_a_node less_grace a_namespace;
        garbage:
            background foreground orphans a_wrong_uid a_config_map a_missing_owner one_of_two_owners a_whole_rollout
            orphans_of_a_rollout an_owner_in_background_by_default;
        pod:
            defaults binding eviction status immutable_spec missing_fields;
        replica_set:
            pods_from_the_template status_counts min_ready_seconds unready_pods_go_first scaled_to_zero
            a_deleted_pod_is_replaced a_failed_pod_is_replaced invalid_selectors adoption a_relabelled_pod
            deletion_costs terminating_pods;
        endpoint_slice:
            ready_and_unready a_terminating_pod a_changed_selector no_selector without_address finished_pods
            unready_addresses numbered_ports a_deleted_service loopback_addresses invalid_slices
            service_defaults invalid_services ingress_defaults invalid_ingresses;
        kubectl:
            get get_built_in_kinds describe apply apply_what_is_refused apply_built_in_kinds patch scale delete wait explain api_resources
            plugin commands_that_send_protobuf;
        discovery:
            our_group groups core_subresources aggregated unknown_group health open_api;
    }
}

/// Played by themselves at the end, as they are felt by everybody.
pub fn last() -> Vec<Behaviour> {
    behaviours! {
        reading: an_expired_continue;
        watching: a_version_that_is_too_old;
    }
}
